-- 这些 ICCID、EID 里已在库的；一个号码一个号码地走索引
select iccid from tb_sim where deleted_at is null and iccid = any(%(iccids)s::text[])
union all
select eid from tb_sim where deleted_at is null and eid is not null and eid = any(%(eids)s::text[])
