-- 哪些卡的号码以这几段数字开头或结尾，眼下的、换下的 profile 的都算；一张卡也许出现几次，所以外面再去重。
-- 号码都是数字，按字节排，所以开头是 x 的落在 [x, x:) 里（冒号紧跟在九之后）；结尾的到倒过来的索引里找。
-- 一段一段、一种号码一种号码地走各自的索引，每样凑够 each 行、合计凑够 up_to 行就停：太短的段对得上整库。
-- 排序只为挑定索引：表还空着时计划好的，不排就以为哪个索引都一样，挑了别的就把它从头看到尾
select t.digits, found.id
from unnest(%(texts)s::text[]) as t (digits)
cross join lateral (select t.digits || ':' as past, reverse(t.digits) as back, reverse(t.digits) || ':' as past_back) as b
cross join lateral (
    (select id from tb_sim where deleted_at is null and iccid >= t.digits and iccid < b.past order by iccid limit %(each)s)
    union all
    (select id from tb_sim where deleted_at is null and reverse(iccid) >= b.back and reverse(iccid) < b.past_back order by reverse(iccid) limit %(each)s)
    union all
    (select id from tb_sim where deleted_at is null and msisdn is not null and msisdn >= t.digits and msisdn < b.past order by msisdn limit %(each)s)
    union all
    (select id from tb_sim where deleted_at is null and msisdn is not null and reverse(msisdn) >= b.back and reverse(msisdn) < b.past_back order by reverse(msisdn) limit %(each)s)
    union all
    (select id from tb_sim where deleted_at is null and imsi is not null and imsi >= t.digits and imsi < b.past order by imsi limit %(each)s)
    union all
    (select id from tb_sim where deleted_at is null and imsi is not null and reverse(imsi) >= b.back and reverse(imsi) < b.past_back order by reverse(imsi) limit %(each)s)
    union all
    (select id from tb_sim where deleted_at is null and imei is not null and imei >= t.digits and imei < b.past order by imei limit %(each)s)
    union all
    (select id from tb_sim where deleted_at is null and imei is not null and reverse(imei) >= b.back and reverse(imei) < b.past_back order by reverse(imei) limit %(each)s)
    union all
    (select id from tb_sim where deleted_at is null and eid is not null and eid >= t.digits and eid < b.past order by eid limit %(each)s)
    union all
    (select id from tb_sim where deleted_at is null and eid is not null and reverse(eid) >= b.back and reverse(eid) < b.past_back order by reverse(eid) limit %(each)s)
    union all
    (select sim_id from tb_sim_profile where iccid >= t.digits and iccid < b.past order by iccid limit %(each)s)
    union all
    (select sim_id from tb_sim_profile where reverse(iccid) >= b.back and reverse(iccid) < b.past_back order by reverse(iccid) limit %(each)s)
) as found
limit %(up_to)s
