"""``Idempotency-Key``：同一个键的首个应答。只用 tokens 及以下的。"""
