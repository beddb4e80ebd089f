"""变异清单跟得上代码：要弄坏的文本都还在，点名的用例都还有。"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.model.mutations import MUTATIONS

if TYPE_CHECKING:
    from tests.model.mutation import Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_still_fits_the_code_and_names_tests_that_exist(mutation: Mutation) -> None:
    assert (ROOT / mutation.path).read_text("utf-8").count(mutation.old) == mutation.count
    for test in mutation.tests:
        path, _, name = test.partition("::")
        source = (ROOT / path).read_text("utf-8")
        assert not name or re.search(rf"^(async )?def {re.escape(name.partition('[')[0])}\(", source, re.MULTILINE)
