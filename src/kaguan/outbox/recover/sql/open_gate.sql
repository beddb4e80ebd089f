-- 认下这一次启动；其间又换了服务器的、别人已认下的不算。
-- 抄在 Redis 里的水位领先就跟上它：否则到下一次交出之前，每圈都当作又断了一次。从不晚于此刻：水位在将来，就再也看不出退回去
update tb_broker
set incarnation = %(incarnation)s, history = %(history)s, lineage = coalesce(lineage, gen_random_uuid()),
    forwarded_at = case
        when coalesce(forwarded_at, %(ahead)s) is not null
        then least(greatest(forwarded_at, %(ahead)s), clock_timestamp() + make_interval(secs => %(skew)s))
    end
where id = 1 and pg_postmaster_start_time() = %(incarnation)s and incarnation is distinct from %(incarnation)s
