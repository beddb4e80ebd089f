insert into tb_audit (actor, token_id, action, target, detail, request_id, outcome)
values (%(actor)s, %(token_id)s, %(action)s, %(target)s, %(detail)s, %(request_id)s, %(outcome)s)
