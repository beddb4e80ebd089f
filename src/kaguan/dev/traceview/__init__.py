"""`kaguan up` 的跟踪查看器：收 OTLP/HTTP，留最近的一段在内存里，给人看瀑布图，给 Grafana 读 Jaeger 的 JSON。"""
