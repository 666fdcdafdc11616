// A routing as Python sent it, and its text as a row of tokens to click on.


const NEAR = 60;            // tokens before and behind the selected one that are coloured first

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

/** The text as a row of tokens, coloured by the expert that counts most. */
class Strip {
  constructor(reading, label, select) {
    this.reading = reading;
    this.select = select;
    this.tokens = reading.pieces.map((piece, t) => make("span", {class: "token", role: "option", tabindex: -1, "aria-selected": "false",
      onclick: () => { this.select(t); this.tokens[t].focus({preventScroll: true}); }}, piece, make("small", {}, " ")));
    this.element = make("div", {class: "strip", role: "listbox", "aria-label": label, "aria-orientation": "horizontal",
      onkeydown: event => this.key(event)}, ...this.tokens);
    this.token = 0;
  }

  /** Tokens near the selected one at once; of a long text the others in small parts, between frames. */
  draw(layer, token, expert) {
    clearTimeout(this.rest);
    if (token !== this.token) this.mark(token);
    this.colour(layer, expert, token - NEAR, token + NEAR);
    const part = first => {
      if (first >= this.tokens.length) return;
      this.colour(layer, expert, first, first + NEAR);
      this.rest = setTimeout(part, 0, first + NEAR);
    };
    if (this.tokens.length > NEAR) this.rest = setTimeout(part, 40, 0);
  }

  colour(layer, expert, first, end) {
    const r = this.reading, all = r.loudest(layer);
    for (let t = Math.max(0, first); t < Math.min(end, this.tokens.length); t++) {
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

  mark(token) {
    const before = this.tokens[this.token];
    before.tabIndex = -1;
    before.setAttribute("aria-selected", "false");
    this.token = Math.min(token, this.tokens.length - 1);
    const now = this.tokens[this.token];
    now.tabIndex = 0;
    now.setAttribute("aria-selected", "true");
    const [top, bottom] = [now.offsetTop, now.offsetTop + now.offsetHeight];
    const box = this.element;
    if (top < box.scrollTop) box.scrollTop = top - 6;
    else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight + 6;
  }

  key(event) {
    const to = {ArrowLeft: this.token - 1, ArrowUp: this.token - 1, ArrowRight: this.token + 1, ArrowDown: this.token + 1,
      Home: 0, End: this.tokens.length - 1}[event.key];
    if (to === undefined) return;
    keep(event);
    this.select(clamp(to, 0, this.tokens.length - 1));
    this.tokens[this.token].focus({preventScroll: true});
  }
}
