// 控制台的活气：自动刷新、快捷键。没有它页面照样能用。
"use strict";

(() => {
  const TIMEOUT = 5000;
  const NARROW = 520;
  const HIDDEN = 15000; // 在后台，只看判断
  const LONGEST = 8000; // 断了之后至多隔这么久再试
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  async function get(url) {
    const aborter = new AbortController();
    const timer = setTimeout(() => aborter.abort(), TIMEOUT);
    try {
      return await fetch(url, { signal: aborter.signal, credentials: "same-origin", cache: "no-store", redirect: "error" });
    } finally {
      clearTimeout(timer);
    }
  }

  // 刷新时焦点与写好的不丢：按 id 或链接地址找回
  function replace(area, html) {
    const active = area.contains(document.activeElement) ? document.activeElement : null;
    const place = active && (active.id ? `#${CSS.escape(active.id)}` : active.getAttribute("href") ? `[href="${CSS.escape(active.getAttribute("href"))}"]` : null);
    const open = new Set(all("details[open][id]", area).map((node) => node.id));
    const written = all("input[id]", area).filter((node) => node.value !== node.defaultValue).map((node) => [node.id, node.value]);
    area.innerHTML = html;
    for (const [id, value] of written) {
      const node = document.getElementById(id);
      if (node) node.value = value;
    }
    for (const id of open) {
      const node = document.getElementById(id);
      if (node) node.open = true;
    }
    stack(area);
    if (place) one(place, area)?.focus({ preventScroll: true });
  }

  // 有人正在里面写字：这一次不换，写的不丢
  function writing(area) {
    const active = document.activeElement;
    return area.contains(active) && /^(INPUT|TEXTAREA|SELECT)$/.test(active.tagName);
  }

  // 更新断了：是谁没有应答。/health 不用登录，数据库不在也答
  async function culprit() {
    const words = document.documentElement.dataset;
    try {
      const parts = (await (await get("/health")).json()).data?.parts;
      if (parts?.database?.status === "down") return words.awayDatabase;
      return parts ? words.awaySlow : words.awayApi;
    } catch {
      return words.awayApi;
    }
  }

  // 旧的结论不再算数：横幅变灰，写明是什么时候的
  function outdate(area, why) {
    const banner = one("[data-verdict]", area);
    if (!banner) return;
    badge(document.documentElement.dataset.titleUnknown, document.documentElement.dataset.iconUnknown);
    banner.className = "verdict v-unknown";
    banner.dataset.verdict = "unknown";
    one("[data-announce]", banner).textContent = document.documentElement.dataset.outdated.replace("{time}", banner.dataset.asOf).replace("{why}", why);
  }

  // 手机上放不下的表：一行成一张，各格前写着它那一列的名字
  function stack(root = document) {
    for (const area of all(".scroll", root)) {
      const table = one("table", area);
      if (!table || table.classList.contains("waterfall")) continue;
      table.classList.remove("stacked");
      if (window.innerWidth > NARROW || area.scrollWidth <= area.clientWidth + 1) continue;
      const names = all("thead th", table).map((head) => head.textContent.trim());
      for (const row of all("tbody tr", table)) [...row.children].forEach((cell, at) => (cell.dataset.label = names[at] ?? ""));
      table.classList.add("stacked");
    }
  }

  // 标签页的标题与图标跟着判断走：在后台也看得见
  const plain = document.title.slice((one("[data-title]")?.dataset.title ?? "").length);
  function badge(title, icon) {
    document.title = title + plain;
    const link = one('link[rel="icon"]');
    if (link && link.getAttribute("href") !== icon) link.setAttribute("href", icon);
  }

  function live(area) {
    const every = Number(area.dataset.every);
    const toggle = one("[data-live-toggle]");
    const text = one("[data-live-text]");
    const beacon = one("[data-live-state]");
    const announce = one("[data-live-announce]");
    let paused = false;
    let failures = 0;
    let said = one("[data-announce]", area)?.textContent;
    let timer = 0;

    const show = (state) => {
      document.documentElement.dataset.live = state;
      if (beacon) beacon.dataset.state = state;
      if (text) text.textContent = text.dataset[state];
    };
    const speak = () => {
      const now = one("[data-announce]", area)?.textContent;
      if (announce && now !== said) announce.textContent = said = now;
    };
    const schedule = (wait) => {
      clearTimeout(timer);
      const least = document.hidden ? HIDDEN : 0;
      const watched = !document.hidden || one("[data-title]", area);
      if (!paused && watched && !area.hasAttribute("data-final")) timer = setTimeout(refresh, Math.max(wait, least));
    };
    async function refresh() {
      try {
        const response = await get(area.dataset.live);
        if (response.status === 401) return location.reload();
        if (!response.ok) throw new Error(String(response.status));
        const html = await response.text();
        if (paused) return;
        // 一行正要点下去，不许换成别的一行
        if (!writing(area) && !area.matches("[data-still]:hover")) replace(area, html);
        const verdict = one("[data-title]", area)?.dataset;
        if (verdict) badge(verdict.title, verdict.icon);
        if (one("[data-final]", area)) area.setAttribute("data-final", "");
        failures = 0;
        show("on");
        speak();
      } catch {
        failures += 1;
        show("lost");
        const why = await culprit();
        if (paused) return;
        if (text) text.textContent = `${text.dataset.lost} ${why}`;
        outdate(area, why);
        speak();
      }
      schedule(Math.min(LONGEST, every * 2 ** Math.max(0, failures - 1)));
    }
    if (toggle) {
      toggle.hidden = false;
      toggle.addEventListener("click", () => {
        paused = !paused;
        toggle.textContent = paused ? toggle.dataset.resume : toggle.dataset.pause;
        show(paused ? "off" : "on");
        if (paused) {
          clearTimeout(timer);
          outdate(area, toggle.dataset.paused);
        } else refresh();
      });
    }
    document.addEventListener("visibilitychange", () => schedule(0));
    show("on");
    schedule(every);
  }

  // 从别的站点点进来，浏览器不带 SameSite=Strict 的 cookie：会话其实还在，就自己回去
  async function resume(area) {
    const response = await get("/console/live/whoami").catch(() => null);
    if (response?.status === 204) location.replace(area.dataset.return);
  }

  function confirmations() {
    document.addEventListener("submit", (event) => {
      const question = event.target.dataset?.confirm;
      if (question && !window.confirm(question)) event.preventDefault();
    });
  }

  // 一页的卡一起勾
  function ticks() {
    const every = one("[data-tick-all]");
    if (!every) return;
    every.hidden = false;
    every.addEventListener("change", () => {
      for (const box of all("[data-tick]")) box.checked = every.checked;
    });
  }

  // 从一个任务回到刚才筛选着的列表
  function crumbs() {
    const back = one("[data-crumb]");
    if (location.pathname === "/console/tasks") sessionStorage.setItem("tasks", location.search);
    else if (back) back.search = sessionStorage.getItem("tasks") ?? "";
  }

  function copies() {
    if (!navigator.clipboard) return;
    for (const button of all("[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = button.dataset.copied;
      });
    }
  }

  // 不用 scrollIntoView：有的 Chromium 此后从它起按 Tab，跳过前面的「跳到正文」
  function reveal(link) {
    const bar = link.closest("nav");
    const side = link.closest(".side");
    const [at, wide, tall] = [link, bar, side].map((node) => node.getBoundingClientRect());
    bar.scrollLeft += (at.left + at.right - wide.left - wide.right) / 2;
    side.scrollTop += Math.max(0, at.bottom - tall.bottom);
  }

  function shortcuts() {
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
      const search = one("[data-search]");
      if (event.key === "/" && search) {
        event.preventDefault();
        search.focus();
      }
    });
  }

  const here = one(".side nav [aria-current]");
  if (here) reveal(here);
  stack();
  window.addEventListener("resize", () => stack());
  all("[data-live]").forEach(live);
  all("[data-return]").forEach(resume);
  confirmations();
  ticks();
  crumbs();
  copies();
  shortcuts();
})();
