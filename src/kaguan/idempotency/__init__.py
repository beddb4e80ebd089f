"""``Idempotency-Key``：同一个键的首个应答。"""
