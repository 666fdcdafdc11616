// The number dial: a value and its bits in four formats, and a block of neighbours that share a scale.
// Values of codes are Python's tables; rounding here is a search in them.

const LINE = {width: 760, height: 96, side: 20, axis: 52};
const LARGEST = 3.3895313892515355e38;     // of bfloat16
const TOPS = {e4m3: 448, e2m1: 6};

const float = new Float32Array(1), bitsOf = new Uint32Array(float.buffer);

/** A number format, as dial.py sends it. */
class Format {
  constructor(sent) {
    Object.assign(this, sent);
    this.bits = this.sign + this.exponent + this.mantissa;
    this.codes = 2 ** this.bits;
    if (sent.table) this.values = unpack(sent.table).data;
  }

  decode(code) {
    if (this.values) return this.values[code];
    bitsOf[0] = code * 65536;
    return float[0];
  }

  /** The nearest code, ties to the even one; a scale is rounded up to a power of two. */
  encode(value) {
    if (this.name === "bf16") return this.upperHalf(value);
    if (this.name === "ue8m0") return this.powerAtLeast(Math.abs(Math.fround(value)));
    const size = Math.min(Math.abs(Math.fround(value)), TOPS[this.name]), half = this.codes / 2;
    let best = 0;
    for (let code = 1; code < half; code++) {
      const nearer = Math.abs(this.values[code] - size) - Math.abs(this.values[best] - size);
      if (nearer < 0 || nearer === 0 && code % 2 === 0) best = code;
    }
    return best + (value < 0 || Object.is(value, -0) ? half : 0);
  }

  upperHalf(value) {
    float[0] = value;
    const low = bitsOf[0] & 0xffff, high = bitsOf[0] >>> 16;
    return high + (low > 0x8000 || low === 0x8000 && high & 1 ? 1 : 0);
  }

  powerAtLeast(size) {
    let code = 0;
    while (code < 254 && this.values[code] < size) code++;
    return code;
  }

  /** [sign, exponent, mantissa] as texts of bits; without those that the format lacks. */
  parts(code) {
    const text = code.toString(2).padStart(this.bits, "0");
    return [text.slice(0, this.sign), text.slice(this.sign, this.sign + this.exponent), text.slice(this.sign + this.exponent)].filter(Boolean);
  }

  hex(code) { return `0x${code.toString(16).toUpperCase().padStart(Math.ceil(this.bits / 4), "0")}`; }

  /** How the value of a code comes about. */
  formula(code) {
    const value = this.decode(code);
    if (this.name === "ue8m0") return code === 255 ? "not a number" : `2^(${code} - 127)`;
    const size = code % (this.codes / 2), exponent = Math.floor(size / 2 ** this.mantissa), mantissa = size % 2 ** this.mantissa;
    if (Number.isNaN(value)) return "not a number";
    if (!Number.isFinite(value)) return "infinite";
    const bias = 2 ** (this.exponent - 1) - 1, sign = size === code ? "" : "-";
    return `${sign}2^(${Math.max(1, exponent)} - ${bias}) x (${exponent ? 1 : 0} + ${mantissa}/${2 ** this.mantissa})`;
  }
}

const shortest = value => Number.isNaN(value) ? "NaN" : String(Number(value.toPrecision(6)));

class Dial extends Explorer {
  hears() {
    this.tell = debounced(() => this.ask({value: this.value, format: this.format, block: this.block}), WAIT);
    return {data: () => this.take(), place: () => { Object.assign(this, this.model.get("place")); this.draw(); }};
  }

  take() {
    const sent = this.model.get("data");
    this.formats = Object.fromEntries(sent.formats.map(own => [own.name, new Format(own)]));
    Object.assign(this, this.model.get("place"), {block: [...unpack(sent.block).data], most: sent.most});
    this.list.replaceChildren(...Object.values(this.formats).map(({name, about}) => make("option", {value: name}, `${name}: ${about}`)));
    this.block_.value = this.block.map(value => Number(value.toPrecision(5))).join(" ");
    this.draw();
  }

  build() {
    const list = field("format", {class: "format", onchange: () => this.go({format: list.input.value})}, "select");
    const value = field("value", {type: "number", step: "any", class: "value", oninput: () => {
      if (value.input.value !== "" && Math.abs(value.input.valueAsNumber) <= LARGEST) this.go({value: value.input.valueAsNumber}); }});
    const dial = field("dial", {type: "range", min: -1000, max: 1000, step: 1, class: "slider",
      oninput: () => this.go({value: this.onDial(Number(dial.input.value))})});
    const block = field(`Neighbours that share a scale`, {rows: 3, class: "block", spellcheck: "false", oninput: () => this.readBlock()}, "textarea");
    Object.assign(this, {list: list.input, value_: value.input, dial: dial.input, block_: block.input});
    this.bits = make("div", {class: "bits", role: "group", "aria-label": "Bits: press one to flip it",
      onkeydown: event => this.moveBit(event)});
    this.line = svg("svg", {class: "chart", viewBox: `0 0 ${LINE.width} ${LINE.height}`, role: "img", onpointerdown: event => this.press(event),
      onpointermove: event => { if (event.buttons) this.press(event); }});
    this.inAll = new Table("", ["format", "code", "bits", "value", "off by", "off by (%)"], this.receipt, [2]);
    this.shared = new Table("", ["format", "scale", "largest / scale", "error (%)"], this.receipt);
    this.inBlock = new Table("", ["number", "as FP4", "as FP8"], this.receipt);
    this.root.append(this.told, this.said, make("div", {class: "bar"}, list.label, value.label, dial.label), this.bits, this.line,
      make("div", {class: "columns"}, make("section", {class: "all"}, this.inAll.element),
        make("section", {class: "shared"}, make("div", {class: "bar"}, block.label), this.shared.element),
        make("section", {class: "block"}, this.inBlock.element)),
      this.receipt.element, this.files({CSV: () => this.saveCsv(), JSON: () => this.saveJson()}));
  }

  // ---- a hand ----

  go(change) {
    Object.assign(this, change);
    this.draw();
    this.tell();
  }

  /** The slider's places are the square root of the range shown, so that small values have room. */
  onDial(place) { return Number((Math.sign(place) * (place / 1000) ** 2 * this.span()).toPrecision(4)); }

  span() { return {e4m3: 448, e2m1: 7, ue8m0: 64, bf16: 1000}[this.format]; }

  readBlock() {
    const block = this.block_.value.split(/[\s,;]+/).filter(Boolean).map(Number);
    const fits = block.length >= 1 && block.length <= this.most && block.every(value => Number.isFinite(Math.fround(value)));
    say(this.said, fits ? "" : `Expected 1 to ${this.most} numbers with spaces between them, got ${block.length}.`);
    if (fits) this.go({block: block.map(Math.fround)});
  }

  flip(bit) {
    const own = this.formats[this.format], code = this.codeNow() ^ (2 ** (own.bits - 1 - bit)), value = own.decode(code);
    if (Number.isFinite(value)) this.go({value});
    say(this.said, Number.isFinite(value) ? "" : `Code ${code} (${own.parts(code).join(" ")}) is ${own.formula(code)}: the dial stays.`);
    this.bits.querySelectorAll("button")[bit].focus();
  }

  moveBit(event) {
    const buttons = [...this.bits.querySelectorAll("button")], at = buttons.indexOf(document.activeElement);
    const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1}[event.key];
    if (to === undefined) return;
    keep(event);
    buttons.forEach((button, i) => { button.tabIndex = i === clamp(to, 0, buttons.length - 1) ? 0 : -1; });
    buttons[clamp(to, 0, buttons.length - 1)].focus();
  }

  press(event) {
    const box = this.line.getBoundingClientRect(), x = (event.clientX - box.left) * LINE.width / box.width;
    const [low, high] = this.shown;
    this.go({value: Number((low + clamp((x - LINE.side) / (LINE.width - 2 * LINE.side), 0, 1) * (high - low)).toPrecision(4))});
  }

  codeNow() { return this.formats[this.format].encode(this.value); }

  // ---- drawing ----

  draw() {
    const own = this.formats[this.format], code = this.codeNow(), value = own.decode(code);
    this.list.value = this.format;
    if (document.activeElement !== this.value_) this.value_.value = this.value;
    this.dial.value = Math.sign(this.value) * Math.sqrt(Math.min(1, Math.abs(this.value) / this.span())) * 1000;
    this.dial.setAttribute("aria-valuetext", shortest(this.value));
    say(this.told, `${shortest(this.value)} in ${own.name} (${own.about}) is code ${code}, bits ${own.parts(code).join(" ")}: `
      + `${own.formula(code)} = ${shortest(value)}. ${value === this.value ? "Exact." : `Off by ${shortest(value - this.value)}`
      + (this.value ? `, ${Math.abs(100 * (value - this.value) / this.value).toFixed(1)}%.` : ".")}`);
    this.drawBits(own, code);
    this.drawLine(own, code);
    this.tableAll();
    this.tableShared();
  }

  drawBits(own, code) {
    const text = own.parts(code).join(""), kinds = [...Array(own.bits).keys()].map(i => i < own.sign ? "sign"
      : i < own.sign + own.exponent ? "exponent" : "mantissa");
    if (this.drawn !== own.name) {
      this.drawn = own.name;
      this.bits.replaceChildren(...kinds.map((kind, i) => make("button", {type: "button", class: `bit ${kind}`, tabindex: i ? -1 : 0,
        onclick: () => this.flip(i)}, "", make("small", {}, kind[0]))));
    }
    [...this.bits.children].forEach((button, i) => {
      if (button.firstChild.data !== text[i]) button.firstChild.data = text[i];
      button.setAttribute("aria-pressed", String(text[i] === "1"));
      button.setAttribute("aria-label", `${kinds[i]} bit ${i + 1} of ${own.bits}, ${text[i]}`);
    });
  }

  /** The neighbours of the value among all that the format can say. */
  drawLine(own, code) {
    const near = this.around(own, code), values = near.map(c => own.decode(c));
    const low = Math.min(...values, this.value), high = Math.max(...values, this.value);
    this.shown = [low, high];
    const x = value => LINE.side + (value - low) / (high - low || 1) * (LINE.width - 2 * LINE.side);
    let last = -99;
    const ticks = near.flatMap(c => {
      const value = own.decode(c), at = x(value), parts = [svg("line", {class: c === code ? "tick chosen" : "tick", x1: at, x2: at,
        y1: LINE.axis - (c === code ? 16 : 9), y2: LINE.axis + (c === code ? 16 : 9)})];
      if (at - last < 44 && c !== code) return parts;
      last = at;
      return [...parts, svgText(shortest(value), {x: at, y: LINE.axis + 32, "text-anchor": "middle"})];
    });
    this.line.replaceChildren(svg("line", {class: "tick", x1: LINE.side, x2: LINE.width - LINE.side, y1: LINE.axis, y2: LINE.axis}), ...ticks,
      svg("circle", {class: "dot", r: 6, cx: x(this.value), cy: LINE.axis}),
      svgText(shortest(this.value), {x: clamp(x(this.value), 30, LINE.width - 30), y: 18, "text-anchor": "middle"}));
    this.line.setAttribute("aria-label", `Number line: ${shortest(this.value)} among the values of ${own.name} near it, ${values.map(shortest).join(", ")}.`);
  }

  /** Codes in the order of their values: all of a small format, else those near. */
  around(own, code) {
    const half = own.codes / 2, place = c => own.sign && c >= half ? -1 - (c - half) : c;
    const back = p => p >= 0 ? p : half - 1 - p, at = place(code), reach = own.name === "e2m1" ? 16 : own.name === "ue8m0" ? 3 : 6;
    const found = [];
    for (let p = at - reach; p <= at + reach; p++) {
      if (p < (own.sign ? -half : 0) || p >= (own.sign ? half : own.codes)) continue;
      if (Number.isFinite(own.decode(back(p)))) found.push(back(p));
    }
    return found;
  }

  tableAll() {
    const x = String(this.value);
    say(this.inAll.caption, `${shortest(this.value)} in each format`);
    this.inAll.fill(Object.values(this.formats).map(own => {
      const code = own.encode(this.value), value = own.decode(code), line = `FORMATS['${own.name}']`, encoded = `${line}.encode(${x})`;
      const cell = (text, formula, python) => ({text, formula, python});
      return {strong: own.name === this.format, cells: [{text: own.name, act: () => this.go({format: own.name}), label: `${own.name}, dial it`},
        cell(String(code), `the nearest of ${own.codes} codes` + (own.name === "ue8m0" ? " that is not smaller than |x|" : ", ties to the even one"), encoded),
        own.parts(code).join(" "), cell(shortest(value), own.formula(code), `${line}.decode(${encoded})`),
        cell(shortest(value - this.value), "value of the code less the value", `${line}.decode(${encoded}) - ${x}`),
        this.value ? number(100 * Math.abs((value - this.value) / this.value), 2, "the same as a share of the value",
          `100 * abs((${line}.decode(${encoded}) - ${x}) / ${x})`) : ""]};
    }));
  }

  /** One power of two for the whole block, then the nearest codes. */
  quantised(name) {
    const own = this.formats[name], most = Math.max(...this.block.map(Math.abs));
    let scale = 2 ** -126;
    while (scale < most / TOPS[name]) scale *= 2;
    return {own, scale, most, values: this.block.map(value => own.decode(own.encode(value / scale)) * scale)};
  }

  tableShared() {
    const four = this.quantised("e2m1"), eight = this.quantised("e4m3"), rms = values => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
    say(this.shared.caption, `${this.block.length} numbers with one scale (FP4: blocks of 32; FP8: tiles of 128 x 128)`);
    this.shared.fill([four, eight].map(({own, scale, most, values}) => ({cells: [`${own.name}`,
      {text: String(scale), formula: `2^${Math.log2(scale)}: the smallest power of two that brings ${shortest(most)} to ${TOPS[own.name]} or below`,
        python: `explorer.quantised('${own.name}')[0]`},
      number(most / scale, 2, `${shortest(most)} / 2^${Math.log2(scale)}`, `abs(explorer.block).max() / explorer.quantised('${own.name}')[0]`),
      number(100 * rms(values.map((value, i) => value - this.block[i])) / (rms(this.block) || 1), 2,
        "root mean square of the errors, as a share of that of the numbers", `100 * explorer.error('${own.name}')`)]})));
    say(this.inBlock.caption, "The numbers of the block");
    this.inBlock.fill(this.block.map((value, i) => ({cells: [{text: shortest(value), act: () => this.go({value: Number(value.toPrecision(5))}),
      label: `${shortest(value)}, put it on the dial`}, ...[four, eight].map(({own, scale, values}) => ({text: shortest(values[i]),
      formula: `the value of code ${own.encode(value / scale)} x 2^${Math.log2(scale)}`, python: `explorer.quantised('${own.name}')[1][${i}]`}))]})));
  }

  // ---- files ----

  saveCsv() {
    const own = this.formats[this.format], rows = [...Array(own.codes).keys()].map(code => [code, own.hex(code), own.parts(code).join(" "), own.decode(code)]);
    save(`${own.name}.csv`, "text/csv", csv([["code", "hex", "bits", "value"], ...rows]));
  }

  saveJson() {
    save("dial.json", "application/json", JSON.stringify({value: this.value, format: this.format, code: this.codeNow(), block: this.block,
      fp4: this.quantised("e2m1"), fp8: this.quantised("e4m3")}, (key, value) => key === "own" ? value.name : value));
  }
}

export default shown(Dial, "dial");
