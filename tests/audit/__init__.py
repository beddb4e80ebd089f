"""现成的工具找漏洞：``make audit`` 读源码，``make injection`` 用 sqlmap 打真实的 API。"""
