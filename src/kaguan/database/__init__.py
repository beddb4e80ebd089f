"""PostgreSQL：连接、池、时限、监听、迁移，合批提交。只用 logging 及以下的。"""
