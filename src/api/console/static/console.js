// 控制台的活气：自动刷新、快捷键。没有它页面照样能用。
"use strict";

(() => {
  const TIMEOUT = 5000;
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

  // 刷新时焦点不丢：按 id 或链接地址找回
  function replace(area, html) {
    const active = area.contains(document.activeElement) ? document.activeElement : null;
    const place = active && (active.id ? `#${CSS.escape(active.id)}` : active.getAttribute("href") ? `[href="${CSS.escape(active.getAttribute("href"))}"]` : null);
    const open = new Set(all("details[open][id]", area).map((node) => node.id));
    area.innerHTML = html;
    for (const id of open) {
      const node = document.getElementById(id);
      if (node) node.open = true;
    }
    if (place) one(place, area)?.focus({ preventScroll: true });
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
    const schedule = (wait) => {
      clearTimeout(timer);
      if (!paused && !document.hidden && !area.hasAttribute("data-final")) timer = setTimeout(refresh, wait);
    };
    async function refresh() {
      try {
        const response = await get(area.dataset.live);
        if (response.status === 401) return location.reload();
        if (!response.ok) throw new Error(String(response.status));
        const html = await response.text();
        if (paused) return;
        replace(area, html);
        if (one("[data-final]", area)) area.setAttribute("data-final", "");
        failures = 0;
        show("on");
        const now = one("[data-announce]", area)?.textContent;
        if (announce && now !== said) announce.textContent = said = now;
      } catch {
        failures += 1;
        show("lost");
      }
      schedule(Math.min(30000, every * 2 ** Math.min(failures, 4)));
    }
    if (toggle) {
      toggle.hidden = false;
      toggle.addEventListener("click", () => {
        paused = !paused;
        toggle.textContent = paused ? toggle.dataset.resume : toggle.dataset.pause;
        show(paused ? "off" : "on");
        if (paused) clearTimeout(timer);
        else refresh();
      });
    }
    document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : schedule(0)));
    show("on");
    schedule(every);
  }

  // 从别的站点点进来，浏览器不带 SameSite=Strict 的 cookie：会话其实还在，就自己回去
  async function resume(form) {
    const response = await get("/console/live/whoami").catch(() => null);
    if (response?.status === 204) location.replace(form.dataset.resume);
  }

  function confirmations() {
    document.addEventListener("submit", (event) => {
      const question = event.target.dataset?.confirm;
      if (question && !window.confirm(question)) event.preventDefault();
    });
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

  one("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  all("[data-live]").forEach(live);
  all("form[data-resume]").forEach(resume);
  confirmations();
  shortcuts();
})();
