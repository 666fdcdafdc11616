// A routing as Python sent it, and its text coloured by expert.

/** One text's routing, as packed.py packs it. */
class Reading {
  constructor(sent) {
    Object.assign(this, sent);
    for (const name of ["chosen", "load", "scores", "affinities", "routed", "shared", "weights", "bias", "next_ids", "next_p",
      "next_was", "apart"]) this[name] = sent[name] ? unpack(sent[name]) : null;
    [this.L, this.T, this.K] = this.chosen.shape;
    this.E = sent.experts;
    this.memo = {};
  }

  value(name, layer, token, i) { return this[name].data[(layer * this.T + token) * this[name].shape[2] + i]; }

  size(name, layer, token) { return this[name].data[layer * this.T + token]; }

  loadOf(layer, expert) { return this.load.data[layer * this.E + expert]; }

  biasOf(layer, expert) { return this.bias ? this.bias.data[layer * this.E + expert] : NaN; }

  /** The experts of a token: [{expert, place, weight}], without those whose answer counts nothing. */
  asked(layer, token) {
    const found = [];
    for (let place = 0; place < this.K; place++) {
      const expert = this.value("chosen", layer, token, place);
      if (expert >= 0) found.push({expert, place, weight: this.weights ? this.value("weights", layer, token, place) : NaN});
    }
    return found;
  }

  /** [T]: the expert that counts most for each token of a layer; computed once. */
  loudest(layer) {
    return this.memo[`loudest ${layer}`] ??= Int16Array.from({length: this.T}, (_, token) =>
      this.asked(layer, token).reduce((best, own) => own.weight > best.weight ? own : best).expert);
  }

  asks(layer, token, expert) {
    const at = (layer * this.T + token) * this.K;
    for (let place = 0; place < this.K; place++) if (this.chosen.data[at + place] === expert) return true;
    return false;
  }

  /** [E * E]: how many tokens of a layer ask two experts at once, none with itself; computed once. */
  together(layer) {
    return this.memo[`together ${layer}`] ??= this.countPairs(layer);
  }

  countPairs(layer) {
    const counts = new Int32Array(this.E * this.E);
    for (let t = 0; t < this.T; t++) {
      const experts = this.asked(layer, t).map(own => own.expert);
      for (const a of experts) for (const b of experts) if (a !== b) counts[a * this.E + b]++;
    }
    return counts;
  }
}

/** The text, coloured by the expert that counts most. */
class Strip extends Tokens {
  constructor(reading, label, select) {
    super(reading.pieces, label, select);
    this.reading = reading;
  }

  draw(layer, token, expert) {
    this.sweep(token, (first, end) => this.colour(layer, expert, first, end));
  }

  colour(layer, expert, first, end) {
    const r = this.reading, all = r.loudest(layer);
    for (let t = first; t < end; t++) {
      const element = this.tokens[t], loudest = all[t], mine = r.asks(layer, t, expert);
      if (element.loudest !== loudest) {
        element.loudest = loudest;
        element.style.setProperty("--hue", hue(loudest, r.E));
        element.lastChild.firstChild.data = loudest;
        element.setAttribute("aria-label", `token ${t}, ${r.pieces[t]}, expert ${loudest}`);
      }
      if (element.mine !== mine) element.classList.toggle("mine", element.mine = mine);
    }
  }
}
