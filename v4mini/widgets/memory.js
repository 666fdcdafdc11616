// The memory explorer: what does a context of so many tokens keep? Python sends what each part grows by; the sums are made here.

const FINE = 16;            // steps of the slider for each doubling
const CHART = {width: 640, height: 250, left: 62, bottom: 34, top: 10, right: 12};
const LABELS = [[1, -7, "start"], [4, 18, "start"], [16, -8, "end"]];     // of the lines: doublings, pixels below, what stands there
const STORAGES = {float32: "float32", bfloat16: "bfloat16", released: "as released"};

/** Bytes as viz/tables.py says them. */
function human(bytes) {
  for (const [unit, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= 0.999995 * size) return `${(bytes / size).toFixed(2)} ${unit}`;
  }
  return `${bytes} B`;
}

class Memory extends Explorer {
  hears() {
    this.tellPlace = debounced(() => this.ask({tokens: this.tokens, storage: this.storage, model: this.model_}), WAIT);
    return {data: () => this.take(), place: () => this.go(this.model.get("place"), false)};
  }

  take() {
    this.sent = this.model.get("data");
    const {tokens, storage, model} = this.model.get("place");
    Object.assign(this, {tokens, storage, model_: model});
    const fill = (select, pairs) => select.replaceChildren(...pairs.map(([value, words]) => make("option", {value}, words)));
    fill(this.of, Object.keys(this.sent.models).map(name => [name, name]));
    fill(this.as, Object.entries(STORAGES));
    this.slider.max = FINE * Math.log2(this.sent.longest);
    this.exact.max = this.sent.longest;
    this.draw();
  }

  // ---- the numbers ----

  /** {part: bytes} of a model after so many tokens. */
  parts(model, tokens, storage = this.storage) {
    const parts = Object.fromEntries(this.sent.names.map(([part]) => [part, 0]));
    for (const [part, layers, once, block, ratio] of this.sent.models[model][storage]) {
      parts[part] += layers * (once + Math.floor(tokens / ratio) * block);
    }
    return parts;
  }

  total(name, tokens, storage = this.storage) {
    if (name === "V3.2") return tokens * this.sent.v32[storage];
    if (name === "plain transformer") return tokens * this.sent.plain[storage] * this.sent.layers[this.model_];
    return Object.values(this.parts(name, tokens, storage)).reduce((sum, bytes) => sum + bytes, 0);
  }

  // ---- the page, built once ----

  build() {
    const choice = (words, name) => field(words, {class: name, onchange: event => this.go({[name]: event.target.value})}, "select");
    const of = choice("model", "model"), as = choice("stored", "storage");
    const slider = field("context", {type: "range", min: 0, step: 1, class: "slider",
      oninput: () => this.go({tokens: Math.round(2 ** (slider.input.value / FINE))})});
    const exact = field("tokens", {type: "number", min: 1, step: 1, class: "exact", oninput: () => {
      if (exact.input.checkValidity() && exact.input.value) this.go({tokens: Number(exact.input.value)}); }});
    Object.assign(this, {of: of.input, as: as.input, slider: slider.input, exact: exact.input});
    this.bars = make("div", {class: "bars", role: "img"});
    this.chart = svg("svg", {class: "chart", viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img", onpointerdown: event => this.press(event),
      onpointermove: event => { if (event.buttons) this.press(event); }});
    this.byPart = new Table("", ["part", "bytes", "in short", "share (%)", "one more token"], this.receipt, [0]);
    this.byModel = new Table("", ["model", "bytes", "in short", "times this model", "one more token"], this.receipt, [0]);
    this.root.append(this.told, this.said, make("div", {class: "bar"}, of.label, as.label, slider.label, exact.label), this.bars,
      make("div", {class: "columns"}, make("section", {class: "parts"}, this.byPart.element),
        make("section", {class: "models"}, this.byModel.element)),
      make("section", {}, make("h4", {}, "Bytes against tokens, both logarithmic: click or drag to set the context"), this.chart),
      this.receipt.element, this.files({CSV: () => this.saveCsv(), JSON: () => this.saveJson()}));
  }

  // ---- a hand ----

  go(change, tell = true) {
    const {model, ...rest} = change;
    Object.assign(this, rest, model === undefined ? {} : {model_: model});
    this.draw();
    if (tell) this.tellPlace();
  }

  press(event) {
    const box = this.chart.getBoundingClientRect(), x = (event.clientX - box.left) * CHART.width / box.width;
    const share = clamp((x - CHART.left) / (CHART.width - CHART.left - CHART.right), 0, 1);
    this.go({tokens: Math.round(this.sent.longest ** share)});
  }

  // ---- drawing ----

  draw() {
    const {tokens, storage, model_: model} = this;
    this.of.value = model;
    this.as.value = storage;
    this.slider.value = Math.round(FINE * Math.log2(tokens));
    this.slider.setAttribute("aria-valuetext", `${tokens.toLocaleString("en")} tokens`);
    if (document.activeElement !== this.exact) this.exact.value = tokens;
    this.now = this.parts(model, tokens);
    this.names = [...Object.keys(this.sent.models), "V3.2", "plain transformer"];
    this.totals = Object.fromEntries(this.names.map(name => [name, this.total(name, tokens)]));
    this.own = this.totals[model];
    this.sentence();
    this.drawBars();
    this.tableParts();
    this.tableModels();
    this.drawChart();
  }

  sentence() {
    const times = name => (this.totals[name] / this.own).toFixed(1);
    say(this.told, `After ${this.tokens.toLocaleString("en")} tokens ${this.model_} keeps ${human(this.own)} (${STORAGES[this.storage]}). `
      + `V3.2 would keep ${human(this.totals["V3.2"])}, ${times("V3.2")} times as much; a plain transformer of `
      + `${this.sent.layers[this.model_]} layers ${human(this.totals["plain transformer"])}, ${times("plain transformer")} times.`);
  }

  /** Three bars on one scale, the first in parts. */
  drawBars() {
    const shown = [this.model_, "V3.2", "plain transformer"], most = Math.max(...shown.map(name => this.totals[name]));
    const piece = (bytes, part) => make("span", {class: "piece", style: `width: ${100 * bytes / most}%; --hue: ${this.hue(part)}`});
    this.bars.replaceChildren(...shown.map((name, i) => make("div", {class: "one"}, make("span", {class: "name"}, name),
      make("span", {class: "whole"}, ...(i ? [piece(this.totals[name], null)]
        : this.sent.names.map(([part]) => piece(this.now[part], part)))), make("span", {class: "size"}, human(this.totals[name])))));
    this.bars.setAttribute("aria-label", `Bars on one scale: ${shown.map(name => `${name} ${human(this.totals[name])}`).join(", ")}. `
      + "The tables below have the numbers.");
  }

  hue(part) {
    const i = this.sent.names.findIndex(([name]) => name === part);
    return i < 0 ? "0; --full: 0%" : hue(i, this.sent.names.length) + 205;
  }

  tableParts() {
    const {tokens, storage, model_: model} = this, line = n => `cache_breakdown(explorer.configs['${model}'], ${n}, '${storage}')`;
    say(this.byPart.caption, `${model} after ${tokens.toLocaleString("en")} tokens, ${STORAGES[storage]}`);
    this.byPart.fill(this.sent.names.map(([part, words]) => {
      const terms = this.sent.models[model][storage].filter(term => term[0] === part), bytes = this.now[part];
      const sums = terms.map(([, layers, once, block, ratio]) => `${layers} layers x ` + (block ? `${Math.floor(tokens / ratio)} (${tokens} `
        + `// ${ratio}) x ${block} bytes` : `${once} bytes`)).join(" + ") || "no such layer";
      const more = terms.reduce((sum, [, layers, , block, ratio]) => sum + layers * block / ratio, 0);
      return {cells: [this.swatched(part, words), {text: bytes.toLocaleString("en"), formula: sums, python: `${line(tokens)}['${part}']`},
        human(bytes), number(100 * bytes / this.own, 1, `100 x ${bytes} / ${this.own}, in percent`,
          `100 * ${line(tokens)}['${part}'] / sum(${line(tokens)}.values())`),
        number(more, 1, "bytes that one more token adds, on average over a block", `(${line(1 << 20)}['${part}'] - ${line(0)}['${part}']) / 2**20`)]};
    }));
  }

  swatched(part, words) {
    return make("span", {}, make("span", {class: "swatch", style: `--hue: ${this.hue(part)}`}), words);
  }

  python(name, tokens) {
    const {storage} = this;
    if (name === "V3.2") return `v32_cache_bytes(${tokens}, '${storage}')`;
    if (name === "plain transformer") return `plain_cache_bytes(${tokens}, ${this.sent.layers[this.model_]}, '${storage}')`;
    return `cache_bytes(explorer.configs['${name}'], ${tokens}, '${storage}')`;
  }

  formula(name) {
    const {storage, tokens} = this;
    if (name === "V3.2") return `${tokens} tokens x ${this.sent.v32[storage]} bytes, in all 61 layers`;
    if (name === "plain transformer") {
      return `${tokens} tokens x ${this.sent.layers[this.model_]} layers x 2 (key, value) x 8 heads x 128 numbers`;
    }
    return "the sum of its parts, as in the table of parts";
  }

  tableModels() {
    const {tokens, own} = this, million = this.sent.longest;
    say(this.byModel.caption, `All after ${tokens.toLocaleString("en")} tokens, ${STORAGES[this.storage]}`);
    this.byModel.fill(this.names.map(name => {
      const bytes = this.totals[name], more = (this.total(name, million) - this.total(name, 0)) / million;
      const go = name in this.sent.models ? {text: name, act: () => this.go({model: name}), label: `${name}, show its parts`} : name;
      return {strong: name === this.model_, cells: [go, {text: bytes.toLocaleString("en"), formula: this.formula(name),
        python: this.python(name, tokens)}, human(bytes), number(bytes / own, 2, `${bytes} / ${own}`,
        `${this.python(name, tokens)} / ${this.python(this.model_, tokens)}`),
        number(more, 1, "bytes that one more token adds, on average over a million", `(${this.python(name, million)} - `
          + `${this.python(name, 0)}) / ${million}`)]};
    }));
  }

  /** Totals as lines, both axes logarithmic, and where we are. */
  drawChart() {
    const {width, height, left, bottom, top, right} = CHART, doublings = Math.log2(this.sent.longest);
    const lengths = [...Array(FINE / 2 * doublings + 1).keys()].map(i => Math.round(2 ** (2 * i / FINE)));
    const shown = [this.model_, "V3.2", "plain transformer"], lines = shown.map(name => lengths.map(n => this.total(name, n)));
    const low = Math.floor(Math.log10(Math.min(...lines.flat()))), high = Math.ceil(Math.log10(Math.max(...lines.flat())));
    const x = n => left + Math.log2(n) / doublings * (width - left - right);
    const y = bytes => height - bottom - (Math.log10(bytes) - low) / (high - low) * (height - bottom - top);
    const grid = [];
    for (let power = low; power <= high; power += high - low > 7 ? 2 : 1) {
      grid.push(svg("line", {x1: left, x2: width - right, y1: y(10 ** power), y2: y(10 ** power), class: "grid"}),
        svgText(human(10 ** power).replace(".00", ""), {x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end"}));
    }
    for (let power = 0; power <= doublings; power += 4) {
      const words = power < 10 ? String(2 ** power) : power < 20 ? `${2 ** (power - 10)}K` : "1M";
      grid.push(svgText(words, {x: x(2 ** power), y: height - bottom + 18, "text-anchor": "middle"}));
    }
    const curves = lines.flatMap((line, i) => [svg("polyline", {class: `curve curve${i}`,
      points: line.map((bytes, k) => `${x(lengths[k]).toFixed(1)},${y(bytes).toFixed(1)}`).join(" ")}),
      svgText(shown[i], {x: x(2 ** LABELS[i][0]), y: y(this.total(shown[i], 2 ** LABELS[i][0])) + LABELS[i][1],
        "text-anchor": LABELS[i][2]})]);
    const dots = shown.map((name, i) => svg("circle", {class: `dot curve${i}`, r: 4.5, cx: x(this.tokens), cy: y(this.totals[name])}));
    this.chart.replaceChildren(...grid, svg("line", {x1: x(this.tokens), x2: x(this.tokens), y1: top, y2: height - bottom, class: "here"}),
      ...curves, ...dots, svgText("context (tokens)", {x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle"}));
    this.chart.setAttribute("aria-label", `Bytes of ${shown.join(", ")} from 1 to ${this.sent.longest.toLocaleString("en")} tokens, now at `
      + `${this.tokens.toLocaleString("en")}. The slider above moves it.`);
  }

  // ---- files ----

  rows() {
    const lengths = [...Array(Math.log2(this.sent.longest) + 1).keys()].map(power => 2 ** power);
    return [...new Set([...lengths, this.tokens])].sort((a, b) => a - b).flatMap(tokens => this.names.map(name => {
      const parts = name in this.sent.models ? Object.values(this.parts(name, tokens)) : this.sent.names.map(() => "");
      return [name, this.storage, tokens, this.total(name, tokens), ...parts];
    }));
  }

  columns() { return ["model", "storage", "tokens", "bytes", ...this.sent.names.map(([part]) => part)]; }

  saveCsv() { save("memory.csv", "text/csv", csv([this.columns(), ...this.rows()])); }

  saveJson() { save("memory.json", "application/json", JSON.stringify({columns: this.columns(), rows: this.rows()})); }
}

export default shown(Memory, "memory");
