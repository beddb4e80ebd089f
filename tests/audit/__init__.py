"""现成的工具找漏洞：``make prove P=audit`` 读源码，``make prove P=injection`` 用 sqlmap 打真实的 API。"""
