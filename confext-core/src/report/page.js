
"use strict";
// The list of files. Everything else of the page is there without this script. Names become text nodes and nothing else.
(() => {
  const ROW = 24; // pixels, as the style has it
  const MARGIN = 12; // rows above and below those that can be seen
  const PRINTED = 2000; // rows on paper
  const FEW = 300; // paths that are all shown open

  const data = JSON.parse(document.getElementById("data").textContent);
  const { layers, kinds, names, depths, of, objections } = data;
  const count = names.length;
  const number = (value) => value.toLocaleString("en");

  // ---- the tree: of each path its directory, and where what is in it ends

  const parents = new Int32Array(count);
  const ends = new Int32Array(count).fill(count);
  {
    const way = [];
    for (let at = 0; at < count; at += 1) {
      while (way.length > depths[at]) ends[way.pop()] = at;
      parents[at] = way.length ? way[way.length - 1] : -1;
      way.push(at);
    }
  }
  const isDirectory = (at) => kinds[of[at]].t === "d";

  const paths = new Array(count);
  const pathOf = (at) => {
    if (paths[at] === undefined) {
      paths[at] = parents[at] < 0 ? names[at] : `${pathOf(parents[at])}/${names[at]}`;
    }
    return paths[at];
  };
  let lowered;
  const loweredOf = (at) => {
    lowered ??= new Array(count);
    return (lowered[at] ??= pathOf(at).toLowerCase());
  };

  const marks = new Map();
  for (const [at, objection] of data.marks) marks.set(at, [...(marks.get(at) ?? []), objection]);

  // ---- what is said of a path

  const TYPES = {
    "-": "file", d: "directory", l: "symbolic link", c: "character device", b: "block device", p: "named pipe",
    s: "socket", "?": "nothing to be seen",
  };
  const EVIDENCE = { signed: "signed", verity: "verity, no signature", none: "unprotected", unknown: "not opened" };
  const certain = (below) => below !== "perhaps the host";
  const belowName = (below) => (typeof below === "number" ? layers[below].name : below);
  const layerNames = (kind) => (kind.l ?? []).map((layer) => layers[layer].name);

  const origin = (kind) => {
    switch (kind.a) {
      case "layer": return layerNames(kind)[0] ?? "";
      case "directory": {
        const all = [...layerNames(kind), ...(kind.h ? [kind.h] : [])];
        return all.length > 3 ? `${all.length} layers` : all.join(", ");
      }
      case "base": return "host";
      case "hidden": return `taken away by ${layerNames(kind)[0]}`;
      case "written": return "written after the merge";
      case "copied-up": return "changed after the merge";
      case "deleted": return "deleted after the merge";
      case "submount": return "mounted on top";
      case "metadata": return "record of the stack";
      case "cannot-tell": return "cannot be told";
      default: return "";
    }
  };
  const evidence = (kind) => {
    if (kind.a === "layer" || kind.a === "hidden") return layers[kind.l?.[0]]?.evidence ?? "unknown";
    if (["written", "copied-up", "deleted"].includes(kind.a)) return "none";
    return kind.a === "cannot-tell" ? "unknown" : "";
  };
  const verdict = (kind) => {
    const type = TYPES[kind.t] ?? kind.t;
    const would = data.view === "planned" ? "would be " : "";
    switch (kind.a) {
      case "layer": return `${type}, ${would}from an extension`;
      case "directory": return "directory; what is in it is from whoever has it";
      case "base": return `${type} of the host; no extension has it`;
      case "hidden": return "an extension takes away what is there";
      case "written": return `${type} written after the merge; nothing vouches for it`;
      case "copied-up": return `${type} changed after the merge; nothing vouches for it`;
      case "deleted": return "deleted after the merge";
      case "submount": return "from something mounted on top of the stack";
      case "metadata": return "the record of what is merged";
      case "cannot-tell": return "it cannot be told where this is from";
      default: return "directory on the way";
    }
  };

  // ---- filters

  const UNVERIFIED = (kind) =>
    kind.t !== "d" && (["none", "unknown"].includes(evidence(kind)));
  const SHOWS = [
    ["", "all paths", () => true],
    ["shadowing", "shadow something", (kind) => kind.t !== "d" && (kind.o ?? []).some(certain)],
    ["objected", "objected to", null],
    ["hidden", "taken away or deleted", (kind) => kind.a === "hidden" || kind.a === "deleted"],
    ["written", "written after the merge", (kind) => ["written", "copied-up", "deleted"].includes(kind.a)],
    ["unverified", "nothing vouches for", UNVERIFIED],
    ["unclear", "cannot be told", (kind) => kind.a === "cannot-tell"],
    ["host", "of the host alone", (kind) => kind.a === "base"],
  ];
  const state = { q: "", layer: "", evidence: "", show: "", path: "" };

  const words = (query) => {
    const exact = query !== query.toLowerCase();
    const tests = query.split(/\s+/).filter(Boolean).map((word) => {
      if (!word.includes("*")) return (path) => path.includes(word);
      const pattern = word.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*");
      const expression = new RegExp(`(^|/)${pattern}$`);
      return (path) => expression.test(path);
    });
    const text = exact ? pathOf : loweredOf;
    return tests.length ? (at) => tests.every((test) => test(text(at))) : null;
  };

  const evidenceTest = (wanted) => {
    if (!wanted) return null;
    const [word, signer] = [wanted.split(":", 1)[0], wanted.slice(wanted.indexOf(":") + 1)];
    const fits = (layer) => layer.evidence === word && (word !== "signed" || layer.signer === signer);
    return (kind) => kind.t !== "d" && (kind.l ?? []).some((layer) => fits(layers[layer]));
  };

  const layerTest = (wanted) => {
    if (!wanted) return null;
    const index = layers.findIndex((layer) => `${layer.class}:${layer.name}` === wanted);
    return (kind) => kind.t !== "d" && ((kind.l ?? []).includes(index) || (kind.o ?? []).includes(index));
  };

  // ---- rows: the paths that are shown, closed directories without what is in them

  const open = new Uint8Array(count);
  let rows = new Int32Array(0);
  let matching = null; // which paths the filters let pass; null: all
  let included = null; // these and the directories on the way
  let matches = count;
  let selected = -1;

  const reset = () => {
    open.fill(count <= FEW ? 1 : 0);
    for (let at = 0; at < count; at += 1) if (depths[at] === 0) open[at] = 1;
  };

  const filter = () => {
    const show = SHOWS.find(([name]) => name === state.show) ?? SHOWS[0];
    const tests = [layerTest(state.layer), evidenceTest(state.evidence), state.show ? show[2] : null].filter(Boolean);
    const text = words(state.q);
    const marked = state.show === "objected";
    if (!tests.length && !text && !marked) {
      matching = included = null;
      matches = count;
      reset();
      return;
    }
    const wanted = kinds.map((kind) => tests.every((test) => test(kind)));
    matching = new Uint8Array(count);
    included = new Uint8Array(count);
    matches = 0;
    for (let at = count - 1; at >= 0; at -= 1) {
      if (wanted[of[at]] && (!marked || marks.has(at)) && (!text || text(at))) {
        matching[at] = included[at] = 1;
        matches += 1;
      }
      if (included[at] && parents[at] >= 0) included[parents[at]] = 1;
    }
    open.fill(1);
  };

  const lay = () => {
    const list = new Int32Array(count);
    let length = 0;
    for (let at = 0; at < count; ) {
      if (included && !included[at]) { at = ends[at]; continue; }
      list[length] = at;
      length += 1;
      at = open[at] ? at + 1 : ends[at];
    }
    rows = list.subarray(0, length);
  };

  // The rows are in the order of the paths.
  const rowOf = (at) => {
    let [low, high] = [0, rows.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (rows[middle] === at) return middle;
      if (rows[middle] < at) low = middle + 1; else high = middle - 1;
    }
    return -1;
  };

  // ---- elements

  const element = (tag, properties = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key === "class") made.className = value;
      else if (key in made) made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  };
  const option = (value, label, more = {}) => element("option", { value, ...more }, label);

  const query = element("input", {
    type: "search", id: "q", placeholder: "Part of a path: nginx .conf, *.service", "aria-label": "Filter files by path",
    spellcheck: false, autocomplete: "off",
  });
  const layerSelect = element("select", { id: "layer", "aria-label": "Layer" }, option("", "any layer"));
  for (const { class: kind, name } of layers) layerSelect.append(option(`${kind}:${name}`, name));
  const evidenceSelect = element("select", { id: "evidence", "aria-label": "Signer" }, option("", "any signer"));
  const signers = [...new Set(layers.map((layer) => layer.signer).filter(Boolean))].sort();
  for (const signer of signers) evidenceSelect.append(option(`signed:${signer}`, signer));
  for (const word of ["verity", "none"]) {
    if (layers.some((layer) => layer.evidence === word)) evidenceSelect.append(option(word, EVIDENCE[word]));
  }
  const showSelect = element("select", { id: "show", "aria-label": "Which paths" });
  {
    const paths = new Uint32Array(kinds.length);
    for (let at = 0; at < count; at += 1) paths[of[at]] += 1;
    for (const [name, label, test] of SHOWS) {
      const total = test ? kinds.reduce((sum, kind, at) => sum + (test(kind) ? paths[at] : 0), 0) : marks.size;
      showSelect.append(option(name, name ? `${label} (${number(total)})` : label, { disabled: total === 0 }));
    }
  }
  const said = element("span", { class: "quiet", role: "status", id: "said" });
  const expand = element("button", { type: "button" }, "Open all");
  const collapse = element("button", { type: "button" }, "Close all");
  const view = element("div", { class: "window" });
  const space = element("div", { class: "space" }, view);
  const list = element("div", { class: "list", role: "tree", tabIndex: 0, "aria-label": "Files", id: "list" }, space);
  const detail = element("div", { class: "detail", id: "detail", role: "region", "aria-label": "The selected path", "aria-live": "polite" });

  const highlighted = (name) => {
    const parts = state.q.split(/\s+/).filter((word) => word && !word.includes("*") && !word.includes("/"));
    const text = state.q === state.q.toLowerCase() ? name.toLowerCase() : name;
    // A letter may be two when it is lowered; then places do not fit.
    if (!parts.length || text.length !== name.length) return [name];
    const hit = new Uint8Array(name.length);
    for (const part of parts) {
      for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + 1)) hit.fill(1, at, at + part.length);
    }
    const pieces = [];
    for (let at = 0; at < name.length; ) {
      let end = at;
      while (end < name.length && hit[end] === hit[at]) end += 1;
      const piece = name.slice(at, end);
      pieces.push(hit[at] ? element("mark", {}, piece) : piece);
      at = end;
    }
    return pieces;
  };

  const item = (row) => {
    const at = rows[row];
    const kind = kinds[of[at]];
    const directory = isDirectory(at);
    const gone = kind.a === "hidden" || kind.a === "deleted";
    const classes = ["item"];
    if (matching && !matching[at]) classes.push("dim");
    if (at === selected) classes.push("current");
    if (gone) classes.push("gone");
    const inside = ends[at] - at - 1;
    const twist = element("span", { class: "twist", "aria-hidden": "true" }, directory && inside ? (open[at] ? "▾" : "▸") : "");
    const label = element("span", { class: "label" }, twist, ...highlighted(names[at] + (directory ? "/" : "")));
    label.style.paddingLeft = `${depths[at] * 16}px`;
    label.title = pathOf(at);
    const from = element("span", { class: `origin ${evidence(kind) ? `evidence ${evidence(kind)}` : "quiet"}` }, origin(kind));
    const note = element("span", { class: "note" });
    if (marks.has(at)) note.append(element("span", { class: "bad" }, "objection "));
    if (kind.o?.length) note.append(`over ${kind.o.map(belowName).join(", ")}`);
    else if (directory && !open[at]) note.append(`${number(inside)} paths`);
    const made = element("div", {
      class: classes.join(" "), role: "treeitem", id: `path-${at}`, "aria-level": String(depths[at] + 1),
      "aria-selected": String(at === selected), "aria-setsize": "-1",
    }, label, from, note);
    if (directory && inside) made.setAttribute("aria-expanded", String(Boolean(open[at])));
    made.dataset.at = at;
    return made;
  };

  let printing = false;
  const draw = () => {
    const height = list.clientHeight;
    let first = Math.max(0, Math.floor(list.scrollTop / ROW) - MARGIN);
    let last = Math.min(rows.length, Math.ceil((list.scrollTop + height) / ROW) + MARGIN);
    if (printing) [first, last] = [0, Math.min(rows.length, PRINTED)];
    const fresh = [];
    for (let row = first; row < last; row += 1) fresh.push(item(row));
    if (printing && last < rows.length) fresh.push(element("p", {}, `and ${number(rows.length - last)} more`));
    space.style.height = `${rows.length * ROW}px`;
    view.style.transform = `translateY(${first * ROW}px)`;
    view.replaceChildren(...fresh);
    if (selected >= 0 && document.getElementById(`path-${selected}`)) {
      list.setAttribute("aria-activedescendant", `path-${selected}`);
    } else {
      list.removeAttribute("aria-activedescendant");
    }
  };

  const explain = () => {
    if (selected < 0) {
      detail.replaceChildren(element("p", { class: "quiet" }, "Select a path to see where it is from and what it hides. "
        + "Arrow keys move, left and right close and open, / goes to the filter."));
      return;
    }
    const kind = kinds[of[selected]];
    const entry = (mark, name, ...more) => element("li", { class: mark }, element("b", {}, name), ...more);
    const about = (layer) => {
      const { evidence: word, signer, root_hash: hash, image, version } = layers[layer];
      const lines = [element("div", {}, element("span", { class: `evidence ${word}` }, EVIDENCE[word]), signer ? ` by ${signer}` : "")];
      if (hash) lines.push(element("div", {}, element("code", {}, hash)));
      if (image) lines.push(element("div", {}, element("code", {}, image), version ? ` version ${version}` : ""));
      return lines;
    };
    const chain = element("ol", { "aria-label": "Topmost first" });
    for (const layer of kind.l ?? []) chain.append(entry("top", layers[layer].name, ...about(layer)));
    if (kind.a === "base") chain.append(entry("top", "host"));
    for (const below of kind.o ?? []) {
      const more = typeof below === "number" ? about(below) : [];
      chain.append(entry("under", belowName(below), element("div", {}, "not seen"), ...more));
    }
    if (kind.a === "directory" && kind.h) chain.append(entry("top", kind.h));
    for (const why of kind.w ?? []) chain.append(element("li", { class: "bad" }, why));
    for (const index of marks.get(selected) ?? []) {
      const { code, layer, found, expected, allowed } = objections[index];
      chain.append(element("li", { class: "bad" }, element("code", {}, code),
        ` of ${layer}: found ${found}, expected ${expected}${allowed ? "; allowed" : ""}`));
    }
    detail.replaceChildren(element("h3", {}, pathOf(selected)), element("p", { class: "quiet" }, verdict(kind)), chain);
    if (!chain.childElementCount) chain.remove();
  };

  const tell = () => {
    said.textContent = matching ? `${number(matches)} of ${number(count)} paths` : `${number(count)} paths`;
  };

  const KEYS = ["q", "layer", "evidence", "show", "path"];
  const remember = () => {
    const text = KEYS.filter((key) => state[key]).map((key) => `${key}=${encodeURIComponent(state[key])}`).join("&");
    // A browser may not let a page of a file do this; then there is no link.
    try { history.replaceState(null, "", text ? `#${text}` : location.pathname); } catch { /* as it is */ }
  };

  const refresh = () => {
    filter();
    lay();
    list.scrollTop = 0;
    if (selected >= 0) reveal();
    draw();
    tell();
  };

  const reveal = () => {
    const row = rowOf(selected);
    if (row < 0) return;
    const [top, height] = [row * ROW, list.clientHeight];
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + height) list.scrollTop = top + ROW - height;
  };

  const select = (at) => {
    selected = at;
    state.path = at < 0 ? "" : pathOf(at);
    reveal();
    draw();
    explain();
    remember();
  };

  const toggle = (at, want = !open[at]) => {
    if (!isDirectory(at) || Boolean(open[at]) === want) return;
    open[at] = want ? 1 : 0;
    lay();
    draw();
  };

  const set = (changes) => {
    Object.assign(state, changes);
    query.value = state.q;
    layerSelect.value = state.layer;
    evidenceSelect.value = state.evidence;
    showSelect.value = state.show;
    refresh();
    remember();
  };

  // ---- what people do

  let waiting = 0;
  query.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => set({ q: query.value.trim() }), count > 20000 ? 120 : 0);
  });
  layerSelect.addEventListener("change", () => set({ layer: layerSelect.value }));
  evidenceSelect.addEventListener("change", () => set({ evidence: evidenceSelect.value }));
  showSelect.addEventListener("change", () => set({ show: showSelect.value }));
  const all = (value) => () => { open.fill(value); lay(); list.scrollTop = 0; draw(); };
  expand.addEventListener("click", all(1));
  collapse.addEventListener("click", all(0));
  let drawing = false;
  list.addEventListener("scroll", () => {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => { drawing = false; draw(); });
  });
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".item");
    if (!row) return;
    const at = Number(row.dataset.at);
    if (event.target.closest(".twist")) toggle(at);
    select(at);
  });
  list.addEventListener("dblclick", (event) => {
    const row = event.target.closest(".item");
    if (row) toggle(Number(row.dataset.at));
  });
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !rows.length) return;
    const row = selected < 0 ? -1 : rowOf(selected);
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const to = (target) => select(rows[Math.min(rows.length - 1, Math.max(0, target))]);
    const here = row < 0 ? rows[0] : rows[row];
    const does = {
      ArrowDown: () => to(row + 1), ArrowUp: () => to(row - 1), PageDown: () => to(row + page),
      PageUp: () => to(row - page), Home: () => to(0), End: () => to(rows.length - 1),
      Enter: () => toggle(here), " ": () => toggle(here),
      ArrowRight: () => (isDirectory(here) && !open[here] ? toggle(here) : to(row + 1)),
      ArrowLeft: () => {
        if (isDirectory(here) && open[here] && row >= 0) toggle(here, false);
        else if (parents[here] >= 0) select(parents[here]);
      },
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  });
  addEventListener("resize", draw);

  // ---- the other sections: one field for all of them, and ways from them to the files

  const finder = element("input", {
    type: "search", class: "finder", id: "finder", placeholder: "Filter layers, refusals, objections", spellcheck: false,
    "aria-label": "Filter layers, refusals and objections", autocomplete: "off",
  });
  const entries = [...document.querySelectorAll(".layer, .pairs tbody tr, .cards li")]
    .map((entry) => ({ entry, text: entry.textContent.toLowerCase(), section: entry.closest("section") }));
  const counters = new Map(entries.map(({ section }) => {
    const counter = section.querySelector(".count");
    return [section, { counter, total: counter.textContent }];
  }));
  finder.addEventListener("input", () => {
    const wanted = finder.value.toLowerCase().split(/\s+/).filter(Boolean);
    const left = new Map();
    for (const { entry, text, section } of entries) {
      const fits = wanted.every((word) => text.includes(word));
      entry.hidden = !fits;
      left.set(section, (left.get(section) ?? 0) + (fits ? 1 : 0));
    }
    for (const [section, { counter, total }] of counters) {
      counter.textContent = wanted.length ? `${left.get(section)} of ${total}` : total;
    }
  });
  document.querySelector("nav").append(finder);

  const show = (changes) => {
    set({ q: "", evidence: "", show: "", ...changes });
    document.getElementById("files").scrollIntoView();
    list.focus({ preventScroll: true });
  };
  const key = (layer) => `${layers[layer].class}:${layers[layer].name}`;
  for (const entry of document.querySelectorAll(".layer")) {
    const button = element("button", { type: "button" }, "Show its files");
    button.addEventListener("click", () => show({ layer: key(Number(entry.dataset.layer)) }));
    entry.querySelector("dl")?.append(element("dt", {}), element("dd", {}, button));
  }
  for (const pair of document.querySelectorAll(".pairs tr[data-from]")) {
    const cell = pair.querySelector("td.num");
    const button = element("button", { type: "button", class: "plainly", title: "Show these files" }, cell.textContent);
    button.addEventListener("click", () => show({ layer: key(Number(pair.dataset.from)), show: "shadowing" }));
    cell.replaceChildren(button);
  }
  const openTarget = () => {
    const target = location.hash.startsWith("#layer-") && document.getElementById(location.hash.slice(1));
    if (target) target.open = true;
  };
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, select")) return;
    event.preventDefault();
    query.focus();
    query.select();
  });
  addEventListener("beforeprint", () => {
    printing = true;
    for (const entry of document.querySelectorAll(".layer:not([open])")) {
      entry.open = true;
      entry.dataset.printed = "";
    }
    draw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    for (const entry of document.querySelectorAll("[data-printed]")) {
      entry.open = false;
      delete entry.dataset.printed;
    }
    draw();
  });

  // ---- start

  const browser = document.getElementById("browser");
  browser.append(
    element("div", { class: "tools", role: "search" }, query, layerSelect, evidenceSelect, showSelect, expand, collapse, said),
    element("div", { class: "split" }, list, detail),
  );
  browser.hidden = false;
  const restore = () => {
    openTarget();
    if (!location.hash.includes("=")) return false;
    const wanted = new URLSearchParams(location.hash.slice(1));
    const known = Object.fromEntries(KEYS.map((name) => [name, wanted.get(name) ?? ""]));
    set({ ...known, path: "" });
    document.getElementById("files").scrollIntoView();
    if (known.path) {
      for (let at = 0; at < count; at += 1) {
        if (pathOf(at) !== known.path) continue;
        for (let up = parents[at]; up >= 0; up = parents[up]) open[up] = 1;
        lay();
        select(at);
        break;
      }
    }
    return true;
  };
  addEventListener("hashchange", restore);
  explain();
  if (!restore()) refresh();
  performance.mark("shown");
  document.documentElement.dataset.ready = "yes";
})();
