"""攻击：一个请求能让别的客户端等多久、让进程占多少内存。`python -m tests.attacks` 印出表。"""
