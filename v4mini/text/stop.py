"""Stop texts: an answer ends where one of them appears, across borders of tokens too, and no part of it is shown.

Not here: where the text comes from (tokenizer.StreamDecoder), ending the generation.
"""

from v4mini.shapes import Refused


class StopText:
    """Feed it text piece by piece; it gives on what cannot belong to a stop text. `found`: the one that came, else None.

    The stop text that is complete first ends the answer; of several that end together, the longest.
    """

    def __init__(self, stops):
        for stop in stops:
            if not isinstance(stop, str) or not stop:
                raise Refused(f"stop: expected some text, got {stop!r:.40}. Leave it out to go on until the end.")
        self._stops = tuple(stops)
        self._held = ""
        self.found = None

    def put(self, text):                        # -> text that may be shown
        """One more piece. Behind a stop text nothing comes any more."""
        if self.found is not None:
            return ""
        text = self._held + text
        ends = [(at + len(stop), -len(stop), stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            end, _, self.found = min(ends)
            self._held = ""
            return text[: end - len(self.found)]
        known = len(text) - self._may_begin(text)
        self._held = text[known:]
        return text[:known]

    def end(self):                              # -> text that was held back and begins no stop text after all
        held, self._held = self._held, ""
        return held

    def _may_begin(self, text):                 # -> how many of its last characters may be the beginning of a stop text
        longest = max(map(len, self._stops), default=1) - 1
        return next((n for n in range(min(len(text), longest), 0, -1)
                     if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
