import asyncio

from alembic import context
from app import Table, engine
from sqlalchemy import Connection


def migrate(connection: Connection) -> None:
    context.configure(connection, target_metadata=Table.metadata)
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


asyncio.run(main())
