"""OpenAPI 文档与 /docs。"""
