update tb_session set last_seen_at = now() where id = %(id)s
