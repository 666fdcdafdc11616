// The tables of the routing explorer and its files, added to the class Routing of routing.js.

Object.assign(Routing.prototype, {
  /** The selected token in the selected layer: the best experts, and what became of them. */
  chosen() {
    const {r, layer, token} = this, asked = new Map(r.asked(layer, token).map(own => [own.expert, own]));
    say(this.choice.caption, `Token ${token} in layer ${layer}: who is asked`);
    const rows = this.ranked(asked).map(expert => this.choiceRow(expert, asked.get(expert)));
    if (r.shared) rows.push(this.sharedRow());
    this.choice.fill(rows);
  },

  ranked(asked) {
    const {r, layer, token} = this;
    if (!r.affinities) return [...asked.keys()];
    const good = expert => r.value("affinities", layer, token, expert) + (r.biasOf(layer, expert) || 0);
    const order = [...Array(r.E).keys()].sort((a, b) => good(b) - good(a));
    return order.filter((expert, rank) => rank < ROWS || asked.has(expert) || expert === this.expert);
  },

  choiceRow(expert, asked) {
    const {r, layer, token} = this, at = `explorer.layers[${layer}]`;
    const name = {text: String(expert), act: () => this.go({expert}), label: `expert ${expert}, show it`};
    if (!r.affinities) return {cells: [name, "", "", "", "", "asked"], strong: true};
    const affinity = r.value("affinities", layer, token, expert), bias = r.biasOf(layer, expert);
    const cells = [name, "", number(affinity, 2, r.scores ? `sqrt(log(1 + exp(${r.value("scores", layer, token, expert).toFixed(4)}))), `
      + "the root of the softplus of the score" : "the root of the softplus of the score", `${at}.affinities[${token}, ${expert}]`), "", "", ""];
    if (r.scores) cells[1] = number(r.value("scores", layer, token, expert), 2,
      `the token's row times row ${expert} of layers.${layer}.ffn.gate.weight`, `${at}.scores[${token}, ${expert}]`, true);
    if (!Number.isNaN(bias)) {
      cells[3] = number(bias, 2, `layers.${layer}.ffn.gate.bias of expert ${expert}; it takes part in the choice alone`,
        `${at}.bias[${expert}]`, true);
      cells[4] = number(affinity + bias, 2, `affinity ${affinity.toFixed(4)} + bias ${bias.toFixed(4)}: the best ${r.K} are asked`,
        `${at}.affinities[${token}, ${expert}] + ${at}.bias[${expert}]`);
    }
    if (asked) cells[5] = this.weightCell(asked, affinity, at);
    return {cells, strong: Boolean(asked)};
  },

  weightCell({place, weight}, affinity, at) {
    const {r, layer, token, about} = this;
    const sum = r.asked(layer, token).filter(own => own.weight > 0)
      .reduce((total, own) => total + r.value("affinities", layer, token, own.expert), 0);
    const formula = !about.can_run ? "as recorded: its affinity's share of all chosen, times route_scale"
      : weight === 0 ? "0: it is switched off, the others have its weight"
        : `${about.scale} x ${affinity.toFixed(4)} / ${sum.toFixed(4)}: its share of the affinities of all that answer`;
    return number(weight, 2, formula, `${at}.weights[${token}, ${place}]`);
  },

  sharedRow() {
    const {r, layer, token} = this, at = `explorer.layers[${layer}]`, rms = "root mean square over the token's row of what";
    const size = (name, words) => number(r.size(name, layer, token), 2, `${rms} ${words}`, `${at}.${name}[${token}]`);
    return {cells: ["shared", "size", size("shared", "the shared expert adds; every token asks it, with weight 1"), "chosen:",
      size("routed", "the chosen experts add together"), this.about.switches.use_shared ? "always" : "off"]};
  },

  /** The selected expert: its load, its tokens in this text, in the corpus. */
  page() {
    const {r, layer, expert} = this, load = r.loadOf(layer, expert), mine = new Map();
    for (let t = 0; t < r.T; t++) if (r.asks(layer, t, expert)) mine.set(r.pieces[t], (mine.get(r.pieces[t]) ?? 0) + 1);
    const told = [...mine].sort((a, b) => b[1] - a[1]);
    const words = told.slice(0, 10).map(([piece, n]) => n > 1 ? `${piece} ×${n}` : piece).join(" · ");
    const at = `explorer.load[${layer}, ${expert}]`, even = r.T * r.K / r.E;
    say(this.facts.caption, `Expert ${expert} in layer ${layer}`);
    this.facts.fill([
      {cells: ["tokens of this text", number(load, 0, "tokens of the text that ask it", at)]},
      {cells: ["even shares", number(load / even, 2, `${load} / (${r.T} tokens x ${r.K} asked / ${r.E} experts)`,
        `${at} / (${r.T} * ${r.K} / ${r.E})`)]},
      {cells: ["it answers for", (words || "no token of this text") + (told.length > 10 ? ` and ${told.length - 10} more` : "")]}]);
    this.byHand();
    this.corpus();
  },

  corpus() {
    const {layer, expert} = this, sent = this.model.get("corpus");
    this.root.setAttribute("aria-busy", "false");
    this.count.hidden = !this.about.can_run || Boolean(sent.top);
    this.counted.element.hidden = !sent.top;
    if (!sent.top) return;
    say(this.counted.caption, `Over ${sent.tokens} tokens of the corpus, the model as it is: who asks it most`);
    const call = (id, rest = "") => `explorer.corpus.times(${layer}, ${expert}, ${id}${rest})`;
    this.counted.fill(sent.top[layer][expert].map(([piece, id, times, of, first, second]) => ({cells: [piece,
      number(times, 0, `times this token asks expert ${expert} in layer ${layer}`, call(id)),
      number(of, 0, "times this token occurs in the corpus", `explorer.corpus.occurrences(${id})`),
      number(first, 0, "the same in the first half of the texts: like the second, or chance?", call(id, ", slice(explorer.corpus.half)")),
      number(second, 0, "the same in the second half", call(id, ", slice(explorer.corpus.half, None)"))]})));
  },

  /** What comes next behind the selected token, and what it was before the switches. */
  next() {
    const {r, token} = this, changed = r !== this.own;
    this.said_next.element.hidden = !r.next_p;
    if (!r.next_p) { say(this.nextNote, "A recording has no logits: what comes next is not in it."); return; }
    say(this.said_next.caption, `Behind token ${token}: what comes next`);
    const N = r.next_p.shape[1];
    this.said_next.fill([...Array(N).keys()].map(i => {
      const at = token * N + i, id = r.next_ids.data[at], p = r.next_p.data[at], was = r.next_was.data[at];
      const call = rest => `explorer.probability(${token}, ${id}${rest})`, digits = 3;
      return {cells: [r.next_pieces[id], number(p, digits, `softmax of the logits behind token ${token}, at id ${id}`, call("")),
        changed ? number(was, digits, "the same in the model as it is", call(", as_it_is=True")) : "",
        changed ? number(p - was, digits, `${p.toFixed(5)} - ${was.toFixed(5)}`, `${call("")} - ${call(", as_it_is=True")}`, true) : ""]};
    }));
    say(this.nextNote, changed ? `The whole distribution moved by ${r.apart.data[token].toFixed(3)} nats (Kullback-Leibler, from the model `
      + "as it is)." : "Change the router above, or an expert by hand: the columns beside it fill.");
  },

  /** Who is asked together with the selected expert. */
  pair(isNewLayer) {
    const {r, layer, expert} = this, counts = r.together(layer);
    say(this.partners.caption, `Asked together in layer ${layer}`);
    const own = [...Array(r.E).keys()].filter(e => e !== expert && counts[expert * r.E + e] > 0);
    own.sort((a, b) => counts[expert * r.E + b] - counts[expert * r.E + a]);
    this.partners.fill(own.slice(0, 6).map(e => ({cells: [
      {text: `${expert} and ${e}`, act: () => this.go({expert: e}), label: `expert ${e}, show it`},
      number(counts[expert * r.E + e], 0, "tokens that ask both", `explorer.together(${layer})[${expert}, ${e}]`)]})));
    this.pairs.row = this.pairs.column = expert;
    if (isNewLayer) this.pairs.fill(counts, r.E, r.E, counts.reduce((a, b) => Math.max(a, b), 0), this.root.hasAttribute("data-dark"));
    else this.pairs.paint();
    this.pairs.canvas.setAttribute("aria-label", `Experts by experts: tokens of layer ${layer} that ask both. The table above names the `
      + "partners of the selected expert.");
  },

  pairTip(a, b) {
    const count = this.r.together(this.layer)[a * this.r.E + b];
    return a === b ? `expert ${a}: ${this.r.loadOf(this.layer, a)} tokens` : `experts ${a} and ${b}: ${count} tokens ask both`;
  },

  // ---- files ----

  /** One row for each token, layer and chosen expert. */
  rows() {
    const r = this.r, rows = [];
    for (let layer = 0; layer < r.L; layer++) for (let token = 0; token < r.T; token++) for (const own of r.asked(layer, token)) {
      const affinity = r.affinities ? r.value("affinities", layer, token, own.expert) : "";
      const bias = r.biasOf(layer, own.expert);
      rows.push([token, r.ids[token], r.pieces[token], layer, r.kinds[layer], own.expert, r.weights ? own.weight : "", affinity,
        Number.isNaN(bias) ? "" : bias]);
    }
    return rows;
  },

  saveCsv() {
    save("routing.csv", "text/csv", csv([["token", "id", "piece", "layer", "chosen by", "expert", "weight", "affinity", "bias"],
      ...this.rows()]));
  },

  saveJson() {
    const {r, about} = this;
    save("routing.json", "application/json", JSON.stringify({source: r.source, text: about.text, difference: about.difference,
      switches: about.switches, pieces: r.pieces, ids: r.ids, experts: r.E, kinds: r.kinds,
      columns: ["token", "layer", "expert", "weight", "affinity", "bias"],
      rows: this.rows().map(([token, , , layer, , ...rest]) => [token, layer, ...rest])}));
  },

  /** The heat map as it stands, with the sentence above it. */
  savePng() {
    const from = this.heat.canvas, ratio = window.devicePixelRatio || 1, top = 30 * ratio;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [from.width, from.height + top];
    const context = canvas.getContext("2d"), dark = this.root.hasAttribute("data-dark");
    context.fillStyle = dark ? "#111" : "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(from, 0, top);
    context.fillStyle = dark ? "#fff" : "#000";
    context.font = `${13 * ratio}px system-ui, sans-serif`;
    context.fillText(`${this.mode_.input.selectedOptions[0].text} (${this.legend.textContent})`, 6 * ratio, 19 * ratio, canvas.width - 12);
    canvas.toBlob(blob => save("routing.png", "image/png", blob));
  },
});

export default shown(Routing, "routing");
