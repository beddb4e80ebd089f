// 把 OpenAPI 文档画成页面，并可当场试一试。只用 textContent，文档里的任何文字都不会成为标记。
"use strict";

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  if (tag === "pre") node.tabIndex = 0; // 可滚动的区域，键盘也要进得去
  return node;
}

function resolve(spec, item) {
  if (!item || !item.$ref) return item;
  const [kind, name] = item.$ref.split("/").slice(-2);
  return spec.components[kind][name];
}

function exampleOf(response) {
  const [content] = Object.values(response.content || {});
  const example = content?.example ?? Object.values(content?.examples || {})[0]?.value;
  return typeof example === "string" ? example : JSON.stringify(example, null, 2);
}

function parameterTable(parameters) {
  const table = element("table");
  const head = table.insertRow();
  for (const title of ["参数", "位置", "必填", "类型", "值"]) head.append(element("th", title));
  const inputs = [];
  for (const parameter of parameters) {
    const row = table.insertRow();
    const schema = parameter.schema || {};
    const kind = schema.format || schema.type || (schema.enum ? "enum" : "");
    for (const text of [parameter.name, parameter.in, parameter.required ? "是" : "", kind]) {
      row.insertCell().textContent = text;
    }
    const input = element("input");
    input.placeholder = parameter.description || "";
    row.insertCell().append(input);
    inputs.push({ parameter, input });
  }
  return { table, inputs };
}

async function attempt(path, method, inputs, body, output) {
  const query = new URLSearchParams();
  const headers = {};
  let url = path;
  for (const { parameter, input } of inputs) {
    if (!input.value) continue;
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (parameter.in === "query") query.set(parameter.name, input.value);
    else headers[parameter.name] = input.value;
  }
  const token = document.getElementById("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const target = query.size ? `${url}?${query}` : url;
  output.textContent = "……";
  try {
    const response = await fetch(target, { method: method.toUpperCase(), headers, body: body || undefined });
    const text = await response.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* 不是 JSON，原样显示 */ }
    output.textContent = `${response.status} ${response.statusText}\n${shown}`;
  } catch (error) {
    output.textContent = String(error);
  }
}

function operationView(spec, path, method, operation) {
  const details = element("details");
  const summary = element("summary");
  summary.append(element("span", method.toUpperCase(), "method"), element("code", path), ` ${operation.summary}`);
  details.append(summary);
  if (operation.description) details.append(element("p", operation.description));
  const { table, inputs } = parameterTable(operation.parameters || []);
  if (inputs.length) details.append(table);
  let editor = null;
  const content = operation.requestBody?.content?.["application/json"];
  if (content) {
    editor = element("textarea");
    editor.value = content.example ? JSON.stringify(content.example, null, 2) : "{}";
    details.append(element("h4", "请求体"), editor);
    details.append(element("pre", JSON.stringify(resolve(spec, content.schema), null, 2)));
  }
  const button = element("button", "试一试");
  const output = element("pre");
  button.addEventListener("click", () => attempt(path, method, inputs, editor?.value, output));
  details.append(button, output, element("h4", "应答"));
  const answers = element("table");
  for (const [status, given] of Object.entries(operation.responses)) {
    const response = resolve(spec, given);
    const row = answers.insertRow();
    row.insertCell().textContent = status;
    row.insertCell().textContent = response.description;
    row.insertCell().textContent = Object.keys(response.headers).join(", ");
    row.insertCell().append(element("pre", exampleOf(response)));
  }
  details.append(answers);
  return details;
}

async function show() {
  const spec = await (await fetch("/openapi.json")).json();
  document.getElementById("title").textContent = `${spec.info.title} ${spec.info.version}`;
  document.getElementById("about").textContent = spec.info.description;
  const root = document.getElementById("operations");
  root.textContent = "";
  for (const { name, description } of spec.tags) {
    root.append(element("h2", description || name));
    for (const [path, methods] of Object.entries(spec.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags.includes(name)) root.append(operationView(spec, path, method, operation));
      }
    }
  }
}

show();
