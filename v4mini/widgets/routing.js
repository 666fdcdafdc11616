// The routing explorer: who answers for this token? The data comes once; a click is answered here, without Python.
// Only what needs the model goes back to it: another text, a changed router, the counts over a corpus.

const ROWS = 12;            // experts listed for a token

class Routing extends Explorer {
  // ---- what Python says and hears ----

  hears() {
    this.mode = "load";
    this.tellPlace = debounced(() => this.ask({layer: this.layer, token: this.token, expert: this.expert}), WAIT);
    this.tellSwitches = debounced(() => this.run({switches: this.switches}), WAIT);
    this.tellText = debounced(() => this.run({text: this.text.value}), 2 * WAIT);
    return {data: () => this.take(), now: () => this.take(), other: () => this.take(), corpus: () => this.page(),
      place: () => this.go(this.model.get("place"), false)};
  }

  take() {
    const now = this.model.get("now"), other = this.model.get("other");
    this.about = now.about;
    this.own = new Reading(this.model.get("data"));
    this.r = now.chosen ? new Reading(now) : this.own;
    this.other = other.chosen ? new Reading(other) : null;
    this.switches = structuredClone(now.about.switches);
    this.root.setAttribute("aria-busy", "false");
    const {layer = 0, token = 0, expert = 0} = this.layer === undefined ? this.model.get("place") : this;
    Object.assign(this, {layer, token: clamp(token, 0, this.own.T - 1), expert});
    this.restrip();
    this.controls();
    this.draw();
  }

  restrip() {
    const had = this.root.querySelector(".token") === document.activeElement || this.strip?.element.contains(document.activeElement);
    this.strip = new Strip(this.r, "Text as tokens, coloured by expert", token => this.go({token}));
    this.beside = this.other && new Strip(this.other, "The other text as tokens", () => {});
    this.strips.replaceChildren(this.strip.element, ...(this.beside ? [make("p", {class: "quiet"}, `beside it: ${this.other.source}`),
      this.beside.element] : []));
    this.strip.mark(this.token);
    if (had) this.strip.tokens[this.strip.token].focus({preventScroll: true});
  }

  // ---- the page, built once ----

  build() {
    this.strips = make("div");
    this.note = make("p", {class: "quiet note"});
    this.root.append(this.told, this.said, this.inputs(), this.strips, this.note, this.maps(), this.tables(), this.receipt.element,
      this.files({CSV: () => this.saveCsv(), JSON: () => this.saveJson(), PNG: () => this.savePng()}));
  }

  inputs() {
    const switched = (name, words) => {
      const {label, input} = field(words, {type: "checkbox", class: name, oninput: () => this.turn({[name]: input.checked})});
      this[name] = input;
      return label;
    };
    const text = field("Text", {rows: 2, class: "text", spellcheck: "false", oninput: () => this.tellText()}, "textarea");
    const k = field("experts a token", {type: "number", min: 1, class: "top_k", oninput: () => {
      if (k.input.checkValidity() && k.input.value) this.turn({top_k: Number(k.input.value)}); }});
    this.text = text.input;
    this.top_k = k.input;
    this.reset = make("button", {type: "button", class: "reset", onclick: () => this.turn({top_k: this.about.usual, use_bias: true,
      use_table: true, use_shared: true, off: [], moved: []})}, "as the model is");
    this.bar = make("div", {class: "bar", role: "group", "aria-label": "What if the router were another"}, k.label,
      switched("use_bias", "bias chooses"), switched("use_table", "table chooses"), switched("use_shared", "shared expert"), this.reset);
    this.entry = make("div", {class: "bar"}, text.label);
    return make("div", {}, this.entry, this.bar);
  }

  maps() {
    const select = (layer, expert) => this.go({layer, expert});
    this.heat = new HeatMap("Layers by experts. Arrow keys choose a layer and an expert.", {select, tip: (l, e) => this.tip(l, e)});
    this.heat.canvas.classList.add("heat");
    this.mode_ = field("shows", {class: "mode", onchange: () => { this.mode = this.mode_.input.value; this.map(); }}, "select");
    this.legend = make("p", {class: "quiet"});
    return make("section", {}, make("div", {class: "bar"}, make("h4", {}, "All layers (down) and experts (across)"), this.mode_.label),
      this.heat.element, this.legend);
  }

  tables() {
    this.choice = new Table("", ["expert", "score", "affinity", "bias", "sum", "weight"], this.receipt);
    this.said_next = new Table("", ["next token", "now", "as it is", "change"], this.receipt, [0]);
    this.facts = new Table("", ["this expert", "here"], this.receipt, [0]);
    this.partners = new Table("", ["experts", "tokens that ask both"], this.receipt);
    this.counted = new Table("", ["token", "asks", "of", "1st half", "2nd half"], this.receipt, [0]);
    this.pairs = new HeatMap("", {select: (a, b) => this.go({expert: b}), tip: (a, b) => this.pairTip(a, b)});
    for (const name of ["tabindex", "aria-roledescription"]) this.pairs.canvas.removeAttribute(name);
    this.pairs.canvas.setAttribute("role", "img");
    this.count = make("button", {type: "button", class: "count", onclick: () => this.run({corpus: true})}, "count over the corpus");
    this.nextNote = make("p", {class: "quiet"});
    return make("div", {class: "columns"},
      make("section", {class: "choice"}, this.choice.element),
      make("section", {class: "expert"}, this.facts.element, this.hand(), this.count, this.counted.element),
      make("section", {class: "next"}, this.said_next.element, this.nextNote),
      make("section", {class: "together"}, this.partners.element, this.pairs.element));
  }

  /** The selected expert by hand: switch it off, move its bias. */
  hand() {
    const on = field("", {type: "checkbox", class: "on", oninput: () => this.turnExpert(on.input.checked)});
    const by = field("", {type: "range", min: -2, max: 2, step: 0.05, class: "by", oninput: () => this.moveBias(Number(by.input.value))});
    this.on = on.input;
    this.onWords = on.label.lastChild;
    this.by = by.input;
    this.byWords = by.label.firstChild;
    this.handBar = make("div", {class: "bar", role: "group", "aria-label": "The selected expert by hand"}, on.label, by.label);
    return this.handBar;
  }

  // ---- a hand ----

  go(place, tell = true) {
    const moved = Object.keys(place).filter(name => this[name] !== place[name]);
    if (!moved.length) return;
    Object.assign(this, place);
    this.draw(moved);
    if (tell) this.tellPlace();
  }

  turn(change) {
    Object.assign(this.switches, change);
    this.controls();
    this.tellSwitches();
  }

  turnExpert(on) {
    const off = this.switches.off.filter(([l, e]) => l !== this.layer || e !== this.expert);
    this.turn({off: on ? off : [...off, [this.layer, this.expert]]});
  }

  moveBias(by) {
    const moved = this.switches.moved.filter(([l, e]) => l !== this.layer || e !== this.expert);
    this.turn({moved: by ? [...moved, [this.layer, this.expert, by]] : moved});
  }

  // ---- drawing: what follows from layer, token, expert; only what hangs on those that moved ----

  draw(moved = ["layer", "token", "expert"]) {
    const [layer, token, expert] = ["layer", "token", "expert"].map(name => moved.includes(name));
    if (layer || expert) {
      this.strip.draw(this.layer, this.token, this.expert);
      this.beside?.draw(Math.min(this.layer, this.other.L - 1), this.beside.token, this.expert);
      this.page();
      this.pair(layer);
    } else if (token) this.strip.mark(this.token);
    this.sentence();
    if (moved.length === 3 || token && this.mode === "token") this.map();
    else this.point();
    this.chosen();
    if (token) this.next();
  }

  controls() {
    const {about, switches} = this;
    this.entry.hidden = this.bar.hidden = !about.can_run;
    if (document.activeElement !== this.text) this.text.value = about.text;
    if (document.activeElement !== this.top_k) this.top_k.value = switches.top_k;
    this.top_k.max = this.own.E;
    for (const name of ["use_bias", "use_table", "use_shared"]) this[name].checked = switches[name];
    const options = {load: "load: tokens per expert", token: "the selected token: affinity, dots for chosen"};
    if (this.r !== this.own) options.change = "what the switches changed in the load";
    if (this.other) Object.assign(options, {other: "the other text: load", apart: "this text's share less the other's"});
    if (!(this.mode in options)) this.mode = "load";
    this.mode_.input.replaceChildren(...Object.entries(options).map(([value, words]) =>
      make("option", {value, selected: value === this.mode}, words)));
    this.mode_.input.value = this.mode;
    this.byHand();
  }

  byHand() {
    const mine = ([l, e]) => l === this.layer && e === this.expert;
    this.handBar.hidden = !this.about.can_run;
    this.on.checked = !this.switches.off.some(mine);
    say(this.onWords, `expert ${this.expert} of layer ${this.layer} may answer`);
    const by = this.switches.moved.find(mine)?.[2] ?? 0;
    this.by.value = by;
    this.by.disabled = this.r.kinds[this.layer] === "table";
    say(this.byWords, this.by.disabled ? "no bias where a table chooses" : `its bias moved by ${by.toFixed(2)}`);
  }

  sentence() {
    const {r, layer, token} = this;
    const asked = r.asked(layer, token).map(own => own.expert + (r.weights ? ` (weight ${own.weight.toFixed(2)})` : "")).join(" and ");
    const by = r.kinds[layer] === "table" ? "the table chooses by token id" : r.affinities
      ? `the gate chooses by affinity${r.biasOf(layer, 0) >= -1e30 ? " + bias" : ""}` : "the recording says who was chosen";
    say(this.told, `Layer ${layer}: ${by}. Token ${token}, ${r.pieces[token]}, goes to expert ${asked}. ${this.about.difference}`);
    const left = r.left_out ? ` ${r.left_out} more tokens were left out.` : "";
    say(this.note, `${r.T} tokens, ${r.L} layers of ${r.E} experts, ${r.K} asked by a token, from ${r.source}.${left} Colour and number: `
      + `the expert that counts most in layer ${layer}. Dotted: asks expert ${this.expert}. Red frame: the selected token.`);
  }

  map() {
    const {own, r, other} = this, cells = r.L * r.E;
    let values = r.load.data, most = 0, marked = null, words = `0 to MOST tokens; an even share is ${(r.T * r.K / r.E).toFixed(1)}`;
    if (this.mode === "token" && r.affinities) {
      values = new Float32Array(cells).map((_, i) => r.value("affinities", Math.floor(i / r.E), this.token, i % r.E));
      marked = layer => r.asked(layer, this.token).map(asked => asked.expert);
      words = `affinity 0 to MOST of token ${this.token}; dots: the experts it asks`;
    } else if (this.mode === "change") {
      values = r.load.data.map((value, i) => value - own.load.data[i]);
      words = "blue: more tokens than in the model as it is, orange: fewer; at most MOST";
    } else if (this.mode === "other") {
      values = this.fit(other);
      words = `0 to MOST tokens of ${other.source}`;
    } else if (this.mode === "apart") {
      const theirs = this.fit(other);
      values = new Float32Array(cells).map((_, i) => 100 * (r.load.data[i] / r.T - theirs[i] / other.T));
      words = "blue: a larger part of this text's tokens, orange: of the other's; at most MOST percentage points";
    }
    for (const value of values) most = Math.max(most, Math.abs(value));
    this.heat.fill(values, r.L, r.E, most, this.root.hasAttribute("data-dark"), marked);
    this.point();
    say(this.legend, words.replace("MOST", Number.isInteger(most) ? most : most.toFixed(2)) + ".");
  }

  /** Frame the selected cell and say what stands there. */
  point() {
    this.heat.select(this.layer, this.expert);
    this.heat.describe(this.tip(this.layer, this.expert));
  }

  /** The load of another reading in cells of this one: where it has no such layer or expert, 0. */
  fit(other) {
    return new Int32Array(this.r.L * this.r.E).map((_, i) => {
      const [layer, expert] = [Math.floor(i / this.r.E), i % this.r.E];
      return layer < other.L && expert < other.E ? other.loadOf(layer, expert) : 0;
    });
  }

  tip(layer, expert) {
    const load = this.r.loadOf(layer, expert);
    const value = this.heat.values?.[layer * this.r.E + expert] ?? load;
    const shown = this.mode === "load" ? "" : `; shown: ${Number.isInteger(value) ? value : value.toFixed(3)}`;
    return `layer ${layer}, expert ${expert}: ${load} of ${this.r.T} tokens${shown}`;
  }
}
