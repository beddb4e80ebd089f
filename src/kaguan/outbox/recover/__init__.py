"""找回：租约已失的、Redis 忘了的、PostgreSQL 断了历史的，都有着落（I1）。"""
