// Keeps the page up to date: asks for it again and puts its middle in place of the one shown. What a reader has opened, scrolled
// or focused stays as it is, and a text that is selected stays until it is not.
'use strict';
(() => {
  const EVERY = 2000;
  const PATIENCE = 10000;
  const live = document.getElementById('live');
  const connection = document.getElementById('connection');
  const announcement = document.getElementById('announcement');
  const pause = document.getElementById('pause');
  let paused = false;
  let asking = false;
  let answered = new Date();

  // What can be focused or scrolled, by a name that it keeps when sections come and go.
  const stops = () => {
    const name = (stop) => `${stop.closest('figure')?.id ?? stop.getAttribute('aria-labelledby')} ${stop.tagName}`;
    return new Map([...live.querySelectorAll('summary, [tabindex]')].map((stop) => [name(stop), stop]));
  };

  const put = (next) => {
    const open = [...live.querySelectorAll('figure:has(> details[open])')].map((figure) => figure.id);
    const before = [...stops()].map(([name, stop]) =>
      ({ name, focused: stop === document.activeElement, left: stop.scrollLeft, top: stop.scrollTop }));
    live.replaceChildren(...next.childNodes);
    for (const id of open) document.getElementById(id)?.querySelector('details')?.setAttribute('open', '');
    const after = stops();
    for (const { name, focused, left, top } of before) {
      const stop = after.get(name);
      stop?.scrollTo(left, top);
      if (focused) stop?.focus({ preventScroll: true });
    }
  };

  // Only news is announced to those who listen: not each figure, but another state.
  const announce = () => {
    const state = live.querySelector('.pill')?.textContent ?? '';
    if (announcement.textContent !== state) announcement.textContent = state;
  };

  const say = (words, wrong) => {
    connection.textContent = words;
    connection.className = wrong ? 'bad' : '';
    document.body.classList.toggle('stale', wrong);
  };

  const refresh = async () => {
    if (asking || paused || document.hidden || !getSelection().isCollapsed) return;
    asking = true;
    try {
      const answer = await fetch(location.pathname, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const next = page.getElementById('live');
      if (!next) throw new Error('another page');
      put(next);
      document.title = page.title;
      answered = new Date();
      announce();
      say(`Updated every ${EVERY / 1000} s.`, false);
    } catch (error) {
      say(`No answer since ${answered.toISOString().slice(0, 19).replace('T', ' ')} UTC (${error.message}); all of this is from then.`, true);
    }
    asking = false;
  };

  pause.hidden = false;
  pause.addEventListener('click', () => {
    paused = !paused;
    pause.textContent = paused ? 'Go on' : 'Pause';
    say(paused ? 'Paused.' : `Updated every ${EVERY / 1000} s.`, false);
    refresh();
  });
  document.addEventListener('visibilitychange', refresh);
  announce();
  say(`Updated every ${EVERY / 1000} s.`, false);
  setInterval(refresh, EVERY);
})();
