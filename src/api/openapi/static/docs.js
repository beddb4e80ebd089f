// 把 OpenAPI 文档画成页面，并可当场试一试。只用 textContent，文档里的任何文字都不会成为标记。
"use strict";

const ENGLISH = document.documentElement.lang === "en";
const WORDS = {
  back: ["← 控制台", "← Console"], token: ["令牌", "Token"], search: ["找一条", "Find"], contents: ["目录", "Contents"],
  name: ["名字", "Name"], where: ["位置", "In"], type: ["类型", "Type"], required: ["必填", "Required"], value: ["值", "Value"],
  meaning: ["说明", "Meaning"], yes: ["是", "yes"], parameters: ["参数", "Parameters"], body: ["请求体", "Request body"],
  fields: ["字段", "Fields"], run: ["试一试", "Try it"], answers: ["应答", "Answers"], headers: ["头", "Headers"],
  example: ["例子", "Example"], none: ["没有相符的", "Nothing matches"], answer: ["试出的应答", "The answer"], link: ["链接", "Link"],
};
const word = (key) => WORDS[key][ENGLISH ? 1 : 0];
const DEEPEST = 3; // 字段展开几层

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  if (tag === "pre") node.tabIndex = 0; // 可滚动的区域，键盘也要进得去
  return node;
}

// 一行里的 `代码` 与 **重点**
function inline(node, text) {
  for (const part of text.split(/(`[^`]+`|\*\*[^*]+\*\*)/)) {
    if (part.startsWith("`")) node.append(element("code", part.slice(1, -1)));
    else if (part.startsWith("**")) node.append(element("strong", part.slice(2, -2)));
    else node.append(part);
  }
  return node;
}

function table(titles, rows, label) {
  const box = element("div", undefined, "scroll");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", label);
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const title of titles) {
    const cell = element("th", title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    if (/^\d{4}$/.test(row[0])) line.id = `code-${row[0]}`; // 错误码：应答的 Link 指着它
    for (const cell of row) line.insertCell().append(typeof cell === "string" ? inline(document.createElement("span"), cell) : cell);
  }
  box.append(made);
  return box;
}

// 文档里用到的那一点 Markdown：段落、列表、表格
function prose(text) {
  const box = element("div", undefined, "prose");
  for (const block of text.trim().split(/\n\s*\n/)) {
    const lines = block.split("\n").map((line) => line.trim());
    if (lines[0].startsWith("|")) {
      const [titles, , ...rows] = lines.map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));
      box.append(table(titles, rows, titles.join(", ")));
    } else if (lines[0].startsWith("- ")) {
      const list = element("ul");
      for (const line of lines) list.append(inline(element("li"), line.replace(/^- /, "")));
      box.append(list);
    } else box.append(inline(element("p"), lines.join(" ")));
  }
  return box;
}

function resolve(spec, item) {
  if (!item || !item.$ref) return item;
  const [kind, name] = item.$ref.split("/").slice(-2);
  return spec.components[kind][name];
}

function kindOf(spec, given) {
  const schema = resolve(spec, given) || {};
  const options = schema.anyOf || schema.oneOf;
  if (options) return [...new Set(options.map((one) => kindOf(spec, one)))].join(" | ");
  if (schema.type === "array") return `${kindOf(spec, schema.items)}[]`;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.join(" | ");
  const limits = [["minimum", "≥"], ["maximum", "≤"], ["minLength", "≥"], ["maxLength", "≤"], ["minItems", "≥"], ["maxItems", "≤"]];
  const told = limits.filter(([key]) => schema[key] !== undefined).map(([key, sign]) => `${sign} ${schema[key]}`);
  return [schema.format || schema.type || "any", ...told].join(" ");
}

// 字段一行一个，里层的写成 外.里
function fields(spec, given, prefix = "", depth = 0) {
  const schema = resolve(spec, given) || {};
  const inner = schema.items || (schema.anyOf || []).find((one) => one.type !== "null");
  if (!schema.properties) return inner && depth < DEEPEST ? fields(spec, inner, prefix, depth) : [];
  return Object.entries(schema.properties).flatMap(([name, field]) => {
    const needed = (schema.required || []).includes(name) ? word("yes") : "";
    const told = field.description || resolve(spec, field)?.description || "";
    const row = [`\`${prefix}${name}\``, kindOf(spec, field), needed, told];
    return [row, ...(depth < DEEPEST ? fields(spec, field, `${prefix}${name}.`, depth + 1) : [])];
  });
}

function fieldTable(spec, schema, label) {
  const rows = fields(spec, schema);
  return rows.length ? table([word("name"), word("type"), word("required"), word("meaning")], rows, label) : element("span");
}

function exampleOf(response) {
  const [content] = Object.values(response.content || {});
  const example = content?.example ?? Object.values(content?.examples || {})[0]?.value;
  return typeof example === "string" ? example : JSON.stringify(example, null, 2);
}

// 请求长什么样：试一试与 curl 用的是同一份
function requestOf(path, method, inputs, body) {
  const query = new URLSearchParams();
  const headers = {};
  let url = path;
  for (const { parameter, input } of inputs) {
    if (!input.value) continue;
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (parameter.in === "query") query.set(parameter.name, input.value);
    else headers[parameter.name] = input.value;
  }
  if (body) headers["Content-Type"] = "application/json";
  return { url: query.size ? `${url}?${query}` : url, method: method.toUpperCase(), headers, body };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf(request, secured) {
  const headers = Object.entries(request.headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  if (secured) headers.unshift('-H "Authorization: Bearer $KAGUAN_TOKEN"');
  const parts = [`curl -sS -X ${request.method} ${quoted(location.origin + request.url)}`, ...headers];
  if (request.body) parts.push(`-d ${quoted(request.body)}`);
  return parts.join(" \\\n  ");
}

async function attempt(request, output) {
  const token = document.getElementById("token").value.trim();
  const headers = token ? { ...request.headers, Authorization: `Bearer ${token}` } : request.headers;
  output.hidden = false;
  output.textContent = "……";
  try {
    const response = await fetch(request.url, { method: request.method, headers, body: request.body || undefined });
    const text = await response.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* 不是 JSON，原样显示 */ }
    output.textContent = `${response.status} ${response.statusText}\n${shown}`;
  } catch (error) {
    output.textContent = String(error);
  }
}

function fill(details, spec, path, method, operation) {
  if (operation.description) details.append(prose(operation.description));
  const inputs = (operation.parameters || []).map((given) => {
    const parameter = resolve(spec, given);
    const input = element("input");
    input.setAttribute("aria-label", parameter.name);
    return { parameter, input };
  });
  if (inputs.length) {
    const rows = inputs.map(({ parameter, input }) => [
      `\`${parameter.name}\``, parameter.in, kindOf(spec, parameter.schema), parameter.required ? word("yes") : "",
      parameter.description || "", input,
    ]);
    const titles = ["name", "where", "type", "required", "meaning", "value"].map(word);
    details.append(element("h4", word("parameters")), table(titles, rows, word("parameters")));
  }
  const content = operation.requestBody?.content?.["application/json"];
  let editor = null;
  if (content) {
    editor = element("textarea");
    editor.setAttribute("aria-label", word("body"));
    editor.value = content.example ? JSON.stringify(content.example, null, 2) : "{}";
    details.append(element("h4", word("body")), fieldTable(spec, content.schema, word("body")), editor);
  }
  const curl = element("pre", undefined, "curl");
  const button = element("button", word("run"));
  const output = element("pre");
  output.hidden = true;
  output.setAttribute("aria-label", word("answer"));
  const request = () => requestOf(path, method, inputs, editor?.value);
  const tell = () => (curl.textContent = curlOf(request(), operation.security?.length));
  details.addEventListener("input", tell);
  button.addEventListener("click", () => attempt(request(), output));
  tell();
  details.append(element("h4", "curl"), curl, button, output, element("h4", word("answers")));
  const rows = Object.entries(operation.responses).map(([status, given]) => {
    const response = resolve(spec, given);
    return [status, response.description, Object.keys(response.headers || {}).join(", "), element("pre", exampleOf(response))];
  });
  details.append(table(["HTTP", word("meaning"), word("headers"), word("example")], rows, word("answers")));
  const [good] = Object.entries(operation.responses).filter(([status]) => status.startsWith("2")).map(([, given]) => resolve(spec, given));
  const schema = good?.content?.["application/json"]?.schema;
  if (schema) details.append(element("h4", `${word("answers")} · ${word("fields")}`), fieldTable(spec, schema, word("fields")));
}

function operationView(spec, path, method, operation) {
  const details = element("details");
  details.id = operation.operationId;
  const summary = element("summary");
  summary.append(element("span", method.toUpperCase(), "method"), element("code", path), ` ${operation.summary}`);
  details.append(summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) fill(details, spec, path, method, operation); // 打开才画
  });
  return details;
}

// 地址里的 #名字：打开那一条
function arrive() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  for (const before of document.querySelectorAll(".aimed")) before.classList.remove("aimed");
  target.classList.add("aimed");
  target.scrollIntoView({ block: "center" });
}

function search(entries) {
  const text = document.getElementById("search").value.trim().toLowerCase();
  for (const { words, nodes } of entries) for (const node of nodes) node.hidden = !words.includes(text);
  for (const group of document.querySelectorAll("[data-tag]")) group.hidden = !group.querySelector("details:not([hidden]), li:not([hidden])");
}

async function show() {
  const accepted = { headers: { "Accept-Language": document.documentElement.lang } };
  const spec = await (await fetch("/openapi.json", accepted)).json();
  document.title = `${spec.info.title} ${spec.info.version}`;
  document.getElementById("title").textContent = document.title;
  document.getElementById("about").append(prose(spec.info.description));
  const [root, list, entries] = [document.getElementById("operations"), document.getElementById("list"), []];
  for (const { name, description } of spec.tags) {
    const [group, links] = [element("section"), element("ul")];
    group.dataset.tag = name;
    group.append(element("h2", description || name));
    for (const [path, methods] of Object.entries(spec.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (!operation.tags.includes(name)) continue;
        const [view, item, link] = [operationView(spec, path, method, operation), element("li"), element("a", operation.summary)];
        link.href = `#${operation.operationId}`;
        item.append(link);
        links.append(item);
        group.append(view);
        const words = `${method} ${path} ${operation.summary} ${operation.description || ""} ${operation.operationId}`.toLowerCase();
        entries.push({ words, nodes: [view, item] });
      }
    }
    const part = element("div");
    part.dataset.tag = name;
    part.append(element("strong", description || name), links);
    list.append(part);
    root.append(group);
  }
  document.getElementById("search").addEventListener("input", () => search(entries));
  window.addEventListener("hashchange", arrive);
  arrive();
}

for (const [id, key] of [["back", "back"], ["token-label", "token"], ["search-label", "search"]]) {
  document.getElementById(id).textContent = word(key);
}
document.getElementById("contents").setAttribute("aria-label", word("contents"));
show();
