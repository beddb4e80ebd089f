-- 给 wrk 的请求：每个都是新的 request_id，因而每个都真的写库。参数：令牌、本次的前缀。
local counter = 0
local head, before, after

function init(args)
    local token, prefix = args[1], args[2]
    head = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.host .. "\r\nAuthorization: Bearer " .. token
        .. "\r\nContent-Type: application/json\r\nContent-Length: "
    before = '{"request_id":"' .. prefix .. "-"
    after = args[3]
end

function request()
    counter = counter + 1
    local body = before .. counter .. after
    return head .. #body .. "\r\n\r\n" .. body
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\nKAGUAN {"requests":%d,"seconds":%f,"errors":%d}\n',
        summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout
    ))
end
