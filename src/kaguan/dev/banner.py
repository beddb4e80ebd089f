"""启动完成后给人看的一段：地址、令牌、可以先试什么。"""

from __future__ import annotations

from kaguan.dev.stack import Stack

RULE = "─" * 78


def banner(stack: Stack, token: str, seconds: float) -> str:
    url = stack.api_url
    data = stack.data.path
    traces = (f"  跟踪      {stack.trace_view_url}/",) if stack.trace_view_url else ()
    lines = (
        RULE,
        f"卡管已就绪（{seconds:.1f} 秒）",
        f"  控制台    {url}/",
        f"  接口文档  {url}/docs",
        f"  队列监控  {url}/monitor",
        *traces,
        f"  健康检查  {url}/health        指标 {url}/metrics",
        f"  开发令牌  {token}",
        f"            （也在 {data}/dev-token）",
        f"  收到的邮件 {data}/mail/       日志 {data}/logs/       各服务器地址 {data}/env",
        "试一试：",
        f'  curl -sS -X POST {url}/api/v1/users -H "Authorization: Bearer $(cat {data}/dev-token)" \\',
        "       -H 'Content-Type: application/json' \\",
        """       -d '{"username": "zhangsan", "email": "zhangsan@example.com", "password": "correct horse"}'""",
        "  kaguan task list          # 另开一个终端：看欢迎邮件走到哪一步",
        f"  ls {data}/mail/           # 收到的信",
        "按 Ctrl-C 停止全部",
        RULE,
    )
    return "\n".join(lines) + "\n"
