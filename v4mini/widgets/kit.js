// What all explorers share: elements, tables whose numbers have receipts, an explorer on its page, moving by
// arrow keys, colours, files to save.
// This text is put in front of an explorer's own file; together they are one ES module that imports nothing.

// ---- elements ----

/** An element: make("p", {class: "told", onclick: f}, "text", another). */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** The same for SVG. */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Words in a picture. */
const svgText = (words, attributes) => svg("text", {class: "label", ...attributes}, words);

/** An input with its label; `into` receives the input. */
function field(words, attributes, kind = "input") {
  const input = make(kind, attributes);
  const label = make("label", kind === "textarea" ? {class: "tall"} : {});
  if (attributes.type === "checkbox") label.append(input, words);
  else label.append(make("span", {}, words), input);
  return {label, input};
}

/** Text as text, never as HTML; unchanged text is not written again, so a screen reader stays quiet. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const WAIT = 150;           // milliseconds without a move before Python hears of it

/** Call f when there was no call for so many milliseconds. */
function debounced(f, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...values), milliseconds);
  };
}

// ---- arrays ----

const TYPES = {float32: Float32Array, int32: Int32Array, int16: Int16Array};

/** {shape, dtype, bytes} as Python sent it -> {shape, data}; bytes are copied, for a typed array needs aligned ones. */
function unpack(packed) {
  const {buffer, byteOffset, byteLength} = packed.bytes;
  return {shape: packed.shape, data: new TYPES[packed.dtype](buffer.slice(byteOffset, byteOffset + byteLength))};
}

// ---- a number that shows where it comes from ----

/** A value of a table: what is shown, its formula, and the line of Python that gives it. */
const number = (value, digits, formula, python, signed = false) =>
  ({text: (signed && value >= 0 ? "+" : "") + value.toFixed(digits), formula, python});

/** The line below an explorer that shows the receipt of the number last clicked. */
class Receipt {
  constructor() {
    this.element = make("div", {class: "receipt", role: "status", "aria-label": "Receipt of a number"},
      "Click a number, or move to it with the arrow keys and press Enter: here you see how it is computed.");
  }

  show({text, formula, python}) {
    this.element.replaceChildren(make("div", {}, make("b", {}, text), " = ", formula),
      make("div", {}, "In Python: ", make("code", {}, python)));
  }
}

/** A table whose numbers are buttons: one stop for Tab, arrow keys within. */
class Table {
  constructor(caption, header, receipt, words = []) {
    this.receipt = receipt;
    this.words = words;                       // columns that hold text
    this.caption = make("caption", {}, caption);
    this.body = make("tbody");
    const head = header.map((name, i) => make("th", {scope: "col", class: words.includes(i) ? "words" : null}, name));
    this.table = make("table", {onkeydown: event => this.move(event)}, this.caption,
      make("thead", {}, make("tr", {}, ...head)), this.body);
    this.element = make("div", {class: "wide"}, this.table);
    this.at = [0, 0];
  }

  /** rows: [{cells: [text, an element, {text, formula, python} or {text, act}], strong}] */
  fill(rows) {
    const had = this.body.contains(document.activeElement);
    this.buttons = rows.map(() => []);
    this.body.replaceChildren(...rows.map((row, r) => make("tr", {class: row.strong ? "strong" : null},
      ...row.cells.map((cell, c) => make("td", {class: this.words.includes(c) ? "words" : null}, this.content(cell, r))))));
    this.stop(had);
  }

  content(cell, r) {
    if (typeof cell === "string" || cell instanceof Node) return cell;
    const act = cell.act ?? (() => this.receipt.show(cell));
    const c = this.buttons[r].length;
    const button = make("button", {class: "number", type: "button", tabindex: -1, "aria-label": cell.label ?? null,
      onclick: () => { this.at = [r, c]; this.stop(false); act(); }}, cell.text);
    this.buttons[r].push(button);
    return button;
  }

  /** Exactly one button answers to Tab: the one last used, or the nearest that is left. */
  stop(focus) {
    const filled = this.buttons.map((row, r) => row.length ? r : -1).filter(r => r >= 0);
    if (!filled.length) return;
    const r = filled.reduce((best, own) => Math.abs(own - this.at[0]) < Math.abs(best - this.at[0]) ? own : best);
    const button = this.buttons[r][Math.min(this.at[1], this.buttons[r].length - 1)];
    if (this.current) this.current.tabIndex = -1;
    button.tabIndex = 0;
    this.current = button;
    if (focus) button.focus({preventScroll: true});
  }

  move(event) {
    const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -99], End: [0, 99]}[event.key];
    if (!step) return;
    keep(event);
    const r = clamp(this.at[0] + step[0], 0, this.buttons.length - 1);
    this.at = [r, clamp(this.at[1] + step[1], 0, Math.max(0, this.buttons[r].length - 1))];
    this.stop(true);
  }
}

// ---- an explorer on its page ----

/** What all explorers do: speak with Python, say what they show, follow the theme. Theirs: build(), take(), draw(). */
class Explorer {
  constructor(model, root, name) {
    Object.assign(this, {model, root, receipt: new Receipt(), asks: 0});
    root.classList.add("v4mini", `v4mini-${name}`);
    stayInside(root);
    this.told = make("p", {class: "told", role: "status"});
    this.said = make("p", {class: "alert", role: "alert"});
    this.build();
    this.listen();
    this.take();
    this.ready = true;
  }

  /** What changes in Python, by name. */
  hears() { return {data: () => this.take()}; }

  listen() {
    const heard = Object.entries({said: () => say(this.said, this.model.get("said")), ...this.hears()});
    for (const [name, act] of heard) this.model.on(`change:${name}`, act);
    const unfollow = followTheme(this.root, () => this.ready && this.draw());
    this.end = () => {
      clearTimeout(this.strip?.rest);
      for (const [name, act] of heard) this.model.off(`change:${name}`, act);
      unfollow();
    };
  }

  ask(what) {
    this.model.set("asked", {...what, number: ++this.asks});
    this.model.save_changes();
  }

  /** Ask for something that takes time. */
  run(what) {
    this.root.setAttribute("aria-busy", "true");
    say(this.said, "");
    this.ask(what);
  }

  /** Buttons that save what is shown: {words: act}. */
  files(acts) {
    return make("div", {class: "bar", role: "group", "aria-label": "Save what is shown"},
      ...Object.entries(acts).map(([words, act]) => make("button", {type: "button", onclick: act}, words)));
  }
}

/** What an explorer's module exports. */
const shown = (Kind, name) => ({
  render({model, el}) {
    const root = document.createElement("div");
    el.append(root);
    const explorer = new Kind(model, root, name);
    return () => explorer.end();
  },
});

// ---- keys ----

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** The key is ours: neither the page scrolls nor does the notebook act. */
function keep(event) {
  event.preventDefault();
  event.stopPropagation();
}

/** Keys that were not ours stay within the explorer: single letters are commands of the notebook. */
function stayInside(element) {
  element.addEventListener("keydown", event => { if (event.key !== "Escape") event.stopPropagation(); });
}

// ---- colours ----

/** Dark or light: what JupyterLab or VS Code says, else the system. */
function isDark() {
  const theme = document.body.dataset.jpThemeLight;
  if (theme) return theme === "false";
  if (document.body.classList.contains("vscode-dark")) return true;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Keep root's data-dark true to the page; redraw when it changes. -> a function that ends it */
function followTheme(root, redraw) {
  const set = () => {
    if (root.hasAttribute("data-dark") === isDark()) return;
    root.toggleAttribute("data-dark", isDark());
    redraw();
  };
  root.toggleAttribute("data-dark", isDark());
  const watch = new MutationObserver(set);
  watch.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light", "class"]});
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", set);
  return () => { watch.disconnect(); system.removeEventListener("change", set); };
}

/** So many hues, neighbours far apart. */
const hue = (i, count) => count <= 12 ? i * 360 / count : (i * 137.508) % 360;

const RAMP = {light: [[250, 252, 254], [11, 80, 140]], dark: [[24, 28, 32], [134, 200, 250]]};
const AWAY = {light: [[250, 252, 254], [190, 90, 0]], dark: [[24, 28, 32], [255, 176, 84]]};

/** All shades of a theme, computed once: [256 orange, pale last; 256 blue, pale first], each [r, g, b, 255]. */
const shades = dark => shades[dark] ??= [AWAY, RAMP].flatMap((ramp, side) => {
  const [from, to] = ramp[dark ? "dark" : "light"];
  return [...Array(256).keys()].map(i => {
    const part = Math.sqrt((side ? i : 255 - i) / 255);
    return [...from.map((value, c) => Math.round(value + part * (to[c] - value))), 255];
  });
});

/** share 0..1 (blue), or -1..0 (orange) -> its place among the shades */
const shadeAt = share => share < 0 ? 255 - Math.round(255 * Math.min(1, -share)) : 256 + Math.round(255 * Math.min(1, share));

/** Ink to be read on a colour: black on light, white on dark. */
const inkOn = (red, green, blue) => 0.3 * red + 0.6 * green + 0.1 * blue > 115 ? "#000" : "#fff";

// ---- files ----

function save(name, kind, content) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], {type: kind}));
  make("a", {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Rows as CSV: quotes doubled; a text that a spreadsheet would run as a formula is marked as text. */
function csv(rows) {
  const cell = value => typeof value === "number" ? String(value)
    : `"${String(value ?? "").replace(/^(?=[=+\-@\t\r])/, "'").replaceAll('"', '""')}"`;
  return rows.map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
