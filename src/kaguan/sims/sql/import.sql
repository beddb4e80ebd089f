-- 一次写许多张卡，已在库的（ICCID 或 EID）跳过。按号码的次序写：两批重叠的卡互相等待时不会死锁
insert into tb_sim
    (iccid, carrier, eid, msisdn, imsi, imei, plan, group_name, tags, customer, remark, luhn_valid)
select iccid, carrier, eid, msisdn, imsi, imei, plan, group_name, tags, customer, remark, luhn_valid
from jsonb_to_recordset(%(rows)s) as given (
    iccid text, carrier text, eid text, msisdn text, imsi text, imei text, plan text, group_name text, tags text[],
    customer text, remark text, luhn_valid boolean
)
order by iccid
on conflict do nothing
returning iccid, id
