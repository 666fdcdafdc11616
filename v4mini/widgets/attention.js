// The attention explorer: where does this token look? All weights come once; a click is answered here, without Python.

const MEAN = -1;            // as a head: the mean of all
const SHOWN = 10;           // rows of the table of what is read most
const KINDS = {window: "window", csa: "CSA", hca: "HCA"};

/** The attention of one layer, as looks.py packs it. */
class Looks {
  constructor(sent) {
    Object.assign(this, sent);
    for (const name of ["window", "entries", "sink", "numbers", "sinks"]) this[name] = unpack(sent[name]);
    [this.T, this.H, this.W] = this.window.shape;
    this.K = this.numbers.shape[1];
    this.heads = [...Array(this.H).keys()];
  }

  /** One weight; head MEAN is the mean of all. */
  weight(name, token, head, slot) {
    const {data, shape} = this[name], width = shape[2] ?? 1;
    const one = h => data[(token * this.H + h) * width + slot];
    if (head !== MEAN) return one(head);
    let sum = 0;
    for (let h = 0; h < this.H; h++) sum += one(h);
    return sum / this.H;
  }

  /** Rows that a token reads. */
  rows(token) { return Math.min(token + 1, this.W); }

  /** All that a token reads: [{kind, number, slot}], the oldest row first, then entries, then the sink. */
  places(token) {
    const rows = this.rows(token), found = [];
    for (let i = 0; i < rows; i++) found.push({kind: "row", number: token - rows + 1 + i, slot: this.W - rows + i});
    for (let k = 0; k < this.K; k++) {
      const number = this.numbers.data[token * this.K + k];
      if (number >= 0) found.push({kind: "entry", number, slot: k});
    }
    return [...found, {kind: "sink", number: 0, slot: 0}];
  }

  of({kind, slot}, token, head) {
    return this.weight({row: "window", entry: "entries", sink: "sink"}[kind], token, head, slot);
  }

  /** What falls on window, entries, sink. */
  shares(token, head) {
    const sum = name => {
      let total = 0;
      for (let slot = 0; slot < (this[name].shape[2] ?? 1); slot++) total += this.weight(name, token, head, slot);
      return total;
    };
    return [sum("window"), sum("entries"), sum("sink")];
  }

  /** First token and the one behind the last that an entry is pooled from. */
  block(entry) {
    return [(this.kind === "csa" && entry ? entry - 1 : entry) * this.ratio, (entry + 1) * this.ratio];
  }
}

/** The text: how much falls on each token's own row, and on the heaviest entry that holds it. */
class LookedAt extends Tokens {
  constructor(pieces, label, select) {
    super(pieces, label, select);
    for (const element of this.tokens) element.append(make("small", {class: "entry"}, " "));
  }

  draw({rows, entries, most, held, dark, token}) {
    this.sweep(token, (first, end) => {
      for (let t = first; t < end; t++) this.colour(t, rows[t], entries[t], most, dark, held && t >= held[0] && t < held[1]);
    });
  }

  colour(t, row, entry, most, dark, mine) {
    const element = this.tokens[t], [, own, far] = element.childNodes, shown = `${row} ${entry} ${most} ${dark}`;
    element.classList.toggle("mine", Boolean(mine));
    if (element.shown === shown) return;
    element.shown = shown;
    this.paint(element, Math.max(0, row) / most, dark);
    this.paint(far, -Math.max(0, entry) / most, dark);
    own.firstChild.data = row < 0 ? " " : percent(row);
    far.firstChild.data = entry < 0 ? " " : `e ${percent(entry)}`;
    element.setAttribute("aria-label", `token ${t}, ${this.pieces[t]}` + (row < 0 ? "" : `, ${percent(row)} percent on its row`)
      + (entry < 0 ? "" : `, ${percent(entry)} percent on an entry with it`));
  }

  /** share: blue where it is above 0, orange below. */
  paint(element, share, dark) {
    const [red, green, blue] = shades(dark)[shadeAt(share)];
    element.style.background = share ? `rgb(${red} ${green} ${blue})` : "none";
    element.style.color = share ? inkOn(red, green, blue) : "";
  }
}

const percent = share => { const value = 100 * share; return value >= 9.95 ? value.toFixed(0) : value >= 0.05 ? value.toFixed(1) : "0"; };

class Attention extends Explorer {
  hears() {
    this.tellPlace = debounced(() => this.ask({layer: this.layer, token: this.token, head: this.head}), WAIT);
    this.tellText = debounced(() => this.run({text: this.text.value}), 2 * WAIT);
    return {data: () => this.take(), place: () => this.go({...this.model.get("place"), place: null}, false)};
  }

  take() {
    const sent = this.model.get("data");
    this.layers = sent.layers.map(own => new Looks(own));
    Object.assign(this, {pieces: sent.pieces, ids: sent.ids, left_out: sent.left_out});
    this.root.setAttribute("aria-busy", "false");
    const {layer, token, head} = this.layer === undefined ? this.model.get("place") : this;
    Object.assign(this, {layer, head, token: clamp(token, 0, this.pieces.length - 1), place: null});
    if (document.activeElement !== this.text) this.text.value = sent.text;
    this.options(this.layer_, this.layers.map((own, i) => [i, `${i}: ${KINDS[own.kind]}`]));
    this.options(this.head_, [[MEAN, "mean of all heads"], ...this.layers[0].heads.map(h => [h, `head ${h}`])]);
    const had = this.strip?.element.contains(document.activeElement);
    this.strip = new LookedAt(this.pieces, "Text as tokens: how much of the selected one's attention falls on each",
      token => this.go({token, place: null}));
    this.strips.replaceChildren(this.strip.element);
    this.strip.mark(this.token);
    if (had) this.strip.tokens[this.token].focus({preventScroll: true});
    this.draw();
  }

  options(select, pairs) {
    select.replaceChildren(...pairs.map(([value, words]) => make("option", {value}, words)));
  }

  // ---- the page, built once ----

  build() {
    this.strips = make("div", {class: "tall"});
    this.note = make("p", {class: "quiet note"});
    const text = field("Text", {rows: 2, class: "text", spellcheck: "false", oninput: () => this.tellText()}, "textarea");
    const pick = (words, name) => field(words, {class: name, onchange: event => this.go({[name]: Number(event.target.value), place: null})},
      "select");
    const layer = pick("layer", "layer"), head = pick("head", "head");
    Object.assign(this, {text: text.input, layer_: layer.input, head_: head.input});
    this.root.append(this.told, this.said, make("div", {class: "bar"}, text.label), make("div", {class: "bar"}, layer.label, head.label),
      this.strips, this.note, this.map(), this.tables(), this.receipt.element,
      this.files({CSV: () => this.saveCsv(), JSON: () => this.saveJson()}));
  }

  map() {
    this.heat = new HeatMap("Heads by what is read. Arrow keys choose a head and what it reads.", {
      select: (head, c) => this.go({head, place: c}), tip: (head, c) => this.tip(head, c), column: c => this.column(c)});
    this.heat.canvas.classList.add("heat");
    this.legend = make("p", {class: "quiet"});
    return make("section", {}, make("h4", {}, "Heads (down) and what they read (across)"), this.heat.element, this.legend);
  }

  tables() {
    const shares = ["on rows", "on entries", "on the sink"];
    this.most = new Table("", ["read", "weight", "text"], this.receipt, [2]);
    this.byHead = new Table("", ["head", "sink", ...shares], this.receipt);
    this.byLayer = new Table("", ["layer", "kind", "rows", "entries", ...shares], this.receipt);
    return make("div", {class: "columns"}, make("section", {class: "most"}, this.most.element),
      make("section", {class: "heads"}, this.byHead.element), make("section", {class: "layers"}, this.byLayer.element));
  }

  // ---- a hand ----

  go(change, tell = true) {
    if (Object.entries(change).every(([name, value]) => this[name] === value)) return;
    const moved = Object.keys(change).filter(name => this[name] !== change[name]);
    Object.assign(this, change);
    if (moved.length === 1 && moved[0] === "place") this.point();
    else this.draw();
    if (tell) this.tellPlace();
  }

  // ---- drawing ----

  draw() {
    const {token, layer, head} = this, own = this.looks = this.layers[layer];
    this.read = own.places(token);
    if (this.place !== null) this.place = clamp(this.place, 0, this.read.length - 1);
    this.layer_.value = layer;
    this.head_.value = head;
    this.weights = this.read.map(place => own.of(place, token, head));
    this.colours();
    this.heads();
    this.sentence();
    this.tableMost();
    this.tableHeads();
    this.tableLayers();
  }

  /** The same token and head, something else of what it reads. */
  point() {
    this.colours();
    this.heat.select(this.head, this.place);
    this.heat.describe(this.tip(Math.max(0, this.head), this.place));
    this.sentence();
    this.tableMost();
  }

  colours() {
    const {looks: own, pieces} = this, rows = new Float32Array(pieces.length).fill(-1), entries = new Float32Array(pieces.length).fill(-1);
    let most = 1e-9;
    this.read.forEach(({kind, number}, i) => {
      if (kind === "sink") return;
      most = Math.max(most, this.weights[i]);
      if (kind === "row") { rows[number] = this.weights[i]; return; }
      const [first, end] = own.block(number);
      for (let t = first; t < end; t++) entries[t] = Math.max(entries[t], this.weights[i]);
    });
    const at = this.place === null ? null : this.read[this.place];
    const held = at?.kind === "row" ? [at.number, at.number + 1] : at?.kind === "entry" ? own.block(at.number) : null;
    this.strip.draw({rows, entries, most, held, dark: this.root.hasAttribute("data-dark"), token: this.token});
  }

  heads() {
    const {looks: own, read, token} = this, columns = read.length, values = new Float32Array(own.H * columns);
    for (let h = 0; h < own.H; h++) for (let c = 0; c < columns; c++) values[h * columns + c] = own.of(read[c], token, h);
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    this.heat.row = this.head;
    this.heat.column = this.place ?? columns - 1;
    this.heat.fill(values, own.H, columns, most, this.root.hasAttribute("data-dark"));
    this.heat.describe(this.tip(Math.max(0, this.head), this.heat.column));
    say(this.legend, `Rows by token: ${own.rows(token)}, ` + (own.kind === "window" ? "" : `entries read (e): ${columns - own.rows(token) - 1}, `)
      + `the sink (s) last. Weight 0 to ${most.toFixed(2)}; each line sums to 1.`);
  }

  column(c) {
    const {kind, number} = this.read[c];
    return kind === "row" ? String(number) : kind === "entry" ? `e${number}` : "s";
  }

  name({kind, number}) { return kind === "sink" ? "sink" : `${kind === "row" ? "token" : "entry"} ${number}`; }

  textOf({kind, number}) {
    if (kind === "sink") return "nothing is read";
    if (kind === "row") return this.pieces[number];
    const [first, end] = this.looks.block(number);
    return `tokens ${first} to ${end - 1}: ` + (end - first > 16 ? `${this.pieces.slice(first, first + 8).join("")} … `
      + this.pieces.slice(end - 8, end).join("") : this.pieces.slice(first, end).join(""));
  }

  tip(head, c) {
    const place = this.read[c];
    return `head ${head}, ${this.name(place)}: ${this.looks.of(place, this.token, head).toFixed(4)}; ${this.textOf(place)}`;
  }

  whose() { return this.head === MEAN ? "mean of heads" : `head ${this.head}`; }

  entriesOf(own) {
    let read = 0;
    for (let k = 0; k < own.K; k++) read += own.numbers.data[this.token * own.K + k] >= 0;
    return own.kind === "window" ? "-" : own.kind === "hca" ? `all ${read}` : `${read} of ${own.seen[this.token]} picked`;
  }

  sentence() {
    const {looks: own, token, layer} = this, [window, entries, sink] = own.shares(token, this.head).map(percent);
    const far = own.kind === "window" ? "" : `, ${entries}% on entries (${this.entriesOf(own)}; each pools ${own.kind === "csa"
      ? 2 * own.ratio : own.ratio} tokens)`;
    const at = this.place === null ? "" : ` Selected: ${this.name(this.read[this.place])}, ${this.textOf(this.read[this.place])}.`;
    say(this.told, `Layer ${layer} (${KINDS[own.kind]}), ${this.whose()}: token ${token}, ${this.pieces[token]}, has ${window}% of its `
      + `weight on ${own.rows(token)} rows of the window${far}, ${sink}% on the sink.${at}`);
    const left = this.left_out ? ` ${this.left_out} more tokens were left out.` : "";
    say(this.note, `${this.pieces.length} tokens, ${this.layers.length} layers of ${own.H} heads.${left} Red frame: the token that looks. `
      + "Blue and the first number: percent on a token's own row. Orange and e: percent on the heaviest entry that holds it. "
      + "Dotted: what is selected below.");
  }

  /** A weight with its receipt. */
  weightCell(place, weight, digits = 3) {
    const {token, layer, head} = this, h = head === MEAN ? ":" : head, name = {row: "window", entry: "entries", sink: "sink"}[place.kind];
    const slot = place.kind === "row" ? `, ${place.slot + this.looks.slots - this.looks.W}` : place.kind === "entry" ? `, ${place.slot}` : "";
    return number(weight, digits, place.kind === "sink" ? "exp(the head's sink) / the sum over all rows, entries and the sink"
      : `exp(query x ${this.name(place)}'s row / sqrt(head size)) / the sum over all rows, entries and the sink`
      + (head === MEAN ? ", mean of heads" : ""), `explorer.looks[${layer}].${name}[${token}, ${h}${slot}]` + (head === MEAN ? ".mean()" : ""));
  }

  tableMost() {
    const order = [...this.read.keys()].sort((a, b) => this.weights[b] - this.weights[a]).slice(0, SHOWN);
    say(this.most.caption, `Token ${this.token} reads most, ${this.whose()}`);
    this.most.fill(order.map(i => ({strong: i === this.place, cells: [
      {text: this.name(this.read[i]), act: () => this.go({place: i}), label: `${this.name(this.read[i])}, show it`},
      this.weightCell(this.read[i], this.weights[i]), this.textOf(this.read[i])]})));
  }

  shareCells(own, layer, head) {
    const at = `explorer.looks[${layer}].shares[${this.token}`;
    return own.shares(this.token, head).map((share, i) => number(share, 3, `the sum of its weights on ${["rows of the window", "entries",
      "the sink"][i]}${head === MEAN ? ", mean of heads" : ""}`, head === MEAN ? `${at}].mean(0)[${i}]` : `${at}, ${head}, ${i}]`));
  }

  tableHeads() {
    const {looks: own, layer} = this;
    say(this.byHead.caption, `Token ${this.token} in layer ${layer}, head by head`);
    this.byHead.fill([MEAN, ...own.heads].map(h => ({strong: h === this.head, cells: [
      {text: h === MEAN ? "mean" : String(h), act: () => this.go({head: h}), label: `${h === MEAN ? "mean of heads" : `head ${h}`}, show it`},
      h === MEAN ? "" : number(own.sinks.data[h], 2, `layers.${layer}.attn.attn_sink of head ${h}: as if one more row had this score`,
        `explorer.looks[${layer}].sinks[${h}]`, true), ...this.shareCells(own, layer, h)]})));
  }

  tableLayers() {
    say(this.byLayer.caption, `Token ${this.token}, ${this.whose()}, layer by layer`);
    this.byLayer.fill(this.layers.map((own, layer) => ({strong: layer === this.layer, cells: [
      {text: String(layer), act: () => this.go({layer, place: null}), label: `layer ${layer}, show it`}, KINDS[own.kind],
      String(own.rows(this.token)), this.entriesOf(own), ...this.shareCells(own, layer, this.head)]})));
  }

  // ---- files ----

  /** One row for each head and each thing that the selected token reads in the selected layer. */
  rows() {
    const {looks: own, token, layer} = this;
    return own.heads.flatMap(head => this.read.map(place => [layer, token, head, place.kind,
      place.kind === "sink" ? "" : place.number, own.of(place, token, head), this.textOf(place)]));
  }

  saveCsv() { save("attention.csv", "text/csv", csv([["layer", "token", "head", "kind", "number", "weight", "text"], ...this.rows()])); }

  saveJson() {
    save("attention.json", "application/json", JSON.stringify({pieces: this.pieces, ids: this.ids, layer: this.layer, token: this.token,
      kind: this.looks.kind, ratio: this.looks.ratio, columns: ["head", "kind", "number", "weight"],
      rows: this.rows().map(([, , ...rest]) => rest.slice(0, 4))}));
  }
}

export default shown(Attention, "attention");
