select count(*) from (select from tb_outbox where parked_at is not null limit %(cap)s) as p
