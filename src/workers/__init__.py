"""workers：从 SAQ 取投递，在 PostgreSQL 认领，执行处理器，结算。"""
