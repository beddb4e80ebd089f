-- 几张卡各在几天里的用量合计；一张一张按号码找，没有记录的是 0。
-- 日子与号码写在一起比：只有主键对得上。分开写，表空着时计划好的会改走日子的索引，把别的卡那几天也看一遍；
-- 号码相等也写上：只写范围，规划器会以为要看三分之一张表
select one.iccid, u.data_bytes, u.sms_count
from unnest(%(iccids)s::text[]) as one (iccid)
cross join lateral (
    select coalesce(sum(data_bytes), 0)::bigint as data_bytes, coalesce(sum(sms_count), 0)::bigint as sms_count
    from tb_sim_usage
    where iccid = one.iccid and (iccid, day) >= (one.iccid, %(since)s) and (iccid, day) <= (one.iccid, %(until)s)
) as u
