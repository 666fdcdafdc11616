// A text as a row of tokens to click on: one stop for Tab, arrow keys within. What colours it says the explorer.

const NEAR = 60;            // tokens before and behind the selected one that are coloured first

class Tokens {
  constructor(pieces, label, select) {
    Object.assign(this, {pieces, select});
    this.tokens = pieces.map((piece, t) => make("span", {class: "token", role: "option", tabindex: -1, "aria-selected": "false",
      onclick: () => { this.select(t); this.tokens[t].focus({preventScroll: true}); }}, piece, make("small", {}, " ")));
    this.element = make("div", {class: "strip", role: "listbox", "aria-label": label, "aria-orientation": "horizontal",
      onkeydown: event => this.key(event)}, ...this.tokens);
    this.token = 0;
  }

  /** colour(first, end): tokens near the selected one at once; of a long text the others in small parts, between frames. */
  sweep(token, colour) {
    clearTimeout(this.rest);
    if (token !== this.token) this.mark(token);
    const within = (first, end) => colour(Math.max(0, first), Math.min(end, this.tokens.length));
    within(token - NEAR, token + NEAR);
    const part = first => {
      if (first >= this.tokens.length) return;
      within(first, first + NEAR);
      this.rest = setTimeout(part, 0, first + NEAR);
    };
    if (this.tokens.length > NEAR) this.rest = setTimeout(part, 40, 0);
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
