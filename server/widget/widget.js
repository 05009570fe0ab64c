// Spacelane's site widget: a launcher in a corner of the page, and the panel that it opens.
// <script src="https://widget.example.com/widget.js" data-site-id="ab1c2d3e" async></script>
(() => {
  'use strict';

  const script = document.currentScript || document.querySelector('script[src*="/widget.js"][data-site-id]');
  const siteId = script?.dataset.siteId ?? '';
  const KEY = Symbol.for('spacelane.widget');
  if (!/^[a-z0-9]{8,32}$/.test(siteId)) {
    console.error('Spacelane widget: data-site-id is missing or not 8 to 32 lower-case letters and digits');
    return;
  }
  if (window[KEY]) {
    // A page's own router may run the tag again, and may have emptied the body since: there is one widget all the same.
    window[KEY].refresh();
    return;
  }
  const api = new URL(`v1/${siteId}/`, script.src);

  const CLOSE = {
    ar: 'إغلاق', da: 'Luk', de: 'Schließen', en: 'Close', es: 'Cerrar', fi: 'Sulje', fr: 'Fermer', he: 'סגירה',
    hi: 'बंद करें', it: 'Chiudi', ja: '閉じる', ko: '닫기', nl: 'Sluiten', no: 'Lukk', pl: 'Zamknij', pt: 'Fechar',
    ru: 'Закрыть', sv: 'Stäng', tr: 'Kapat', uk: 'Закрити', zh: '关闭',
  };
  const SIZES = {small: 2.75, medium: 3.5, large: 4.25}; // em: 44, 56 and 68 px where a visitor has not set another
  const SIDES = {'bottom-left': 'flex-start', 'bottom-center': 'center', 'bottom-right': 'flex-end'};

  // Pages. Both sides are compared decoded, and a slash at the end does not count.

  const tidy = text => {
    try {
      text = decodeURI(text);
    } catch { /* not UTF-8: as it is */ }
    return text.normalize().replace(/(?<=.)\/$/, '');
  };

  // Goes back to the last star only, so that no pattern can be slow.
  const fits = (pattern, path) => {
    let at = 0, star = -1, mark = 0;
    for (let i = 0; i < path.length;) {
      if (pattern[at] === '*') {
        star = at++;
        mark = i;
      } else if (pattern[at] === path[i]) {
        at++;
        i++;
      } else if (star >= 0) {
        at = star + 1;
        i = ++mark;
      } else {
        return false;
      }
    }
    return /^\**$/.test(pattern.slice(at));
  };
  const matches = (pattern, path) => fits(pattern, path) || (pattern.endsWith('/*') && fits(pattern.slice(0, -2), path));

  // In a list where something is wanted or, with nothing but exceptions, everything is; and nothing excepts it.
  const isAmong = (patterns, path) => {
    const except = patterns.filter(each => each[0] === '!');
    const wanted = patterns.filter(each => each[0] !== '!');
    const hit = list => list.some(each => matches(tidy(each.replace(/^!/, '')), path));
    return (wanted.length ? hit(wanted) : except.length > 0) && !hit(except);
  };
  const isShown = ({enabled_pages: on = [], disabled_pages: off = []}) => {
    const path = tidy(location.pathname);
    return (!on.length || isAmong(on, path)) && !isAmong(off, path);
  };

  // Looks.

  // Black or white, whichever stands out more (WCAG 2.2, relative luminance and contrast ratio): never below 4.5 to 1.
  const inkOn = color => {
    const [red, green, blue] = [1, 3, 5].map(at => {
      const part = parseInt(color.slice(at, at + 2), 16) / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? '#000' : '#fff';
  };
  // #abc as #aabbcc, without the opacity that a fourth part would be.
  const opaque = color => (color.length < 7 ? color.replace(/[^#]/g, '$&$&') : color).slice(0, 7);

  // Not in a style element or attribute, so that a page's policy need not allow those.
  const style = ({color, position, size}) => {
    const side = SIDES[position] ?? 'flex-end';
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`
:host{all:initial!important}
.box{position:fixed;z-index:2147483647;inset:auto 1em max(1em,env(safe-area-inset-bottom));display:flex;gap:.75em;
flex-direction:column-reverse;align-items:${side};pointer-events:none;font:1em/1.5 system-ui,sans-serif}
button{font:inherit;margin:0;padding:0;cursor:pointer;display:grid;place-items:center;color:inherit;
background:none;border:2px solid transparent}
button:focus-visible{outline:3px solid #fff;outline-offset:0;box-shadow:0 0 0 6px #000}
svg{width:50%;height:50%;fill:none;stroke:currentColor;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.launcher,header{background:${color};color:${inkOn(color)}}
.launcher{width:${SIZES[size] ?? 3.5}em;height:${SIZES[size] ?? 3.5}em;border-radius:50%;pointer-events:auto;
box-shadow:0 2px 10px #0006}
dialog{position:static;box-sizing:border-box;margin:0;padding:0;border:1px solid #8888;border-radius:1em;overflow:auto;pointer-events:auto;
width:min(22em,100%);max-height:calc(100vh - 8em);background:#fff;color:#1a1a1a;box-shadow:0 4px 24px #0006}
header{display:flex;justify-content:space-between;align-items:center;padding:.25em .25em .25em 1em}
header button{min-width:2.75em;height:2.75em;border-radius:.75em}
header svg{width:1.25em;height:1.25em}
h2{font-size:1.1em;margin:0;overflow-wrap:anywhere}
p{margin:0;padding:1em;white-space:pre-line;overflow-wrap:anywhere}
.glow{position:fixed;z-index:-1;inset:0;pointer-events:none;opacity:0;box-shadow:inset 0 0 3em .5em ${color}}
dialog[open]~.glow{opacity:.75}
@media(prefers-color-scheme:dark){dialog{background:#1e1e1e;color:#f2f2f2}}
@media(prefers-reduced-motion:no-preference){.launcher{transition:transform .15s}.launcher:hover{transform:scale(1.06)}
.glow{transition:opacity .3s}dialog[open]{animation:rise .2s}@keyframes rise{from{opacity:0;transform:translateY(.5em)}}}
@media print{.box,.glow{display:none}}`);
    return sheet;
  };

  // Elements are made one by one and texts set as texts: nothing of a configuration is ever read as markup.
  const make = (name, attributes = {}, ...children) => {
    const svg = name === 'svg' || name === 'path';
    const element = svg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const icon = d => make('svg', {viewBox: '0 0 24 24', 'aria-hidden': 'true'}, make('path', {d}));

  const build = config => {
    const name = config.business_name;
    const word = CLOSE[config.language?.split('-')[0].toLowerCase()];
    const host = make('spacelane-widget', {lang: config.language || 'en'});
    const launcher = make('button', {
      type: 'button', class: 'launcher', 'aria-label': name, 'aria-haspopup': 'dialog', 'aria-expanded': 'false',
      'aria-controls': 'panel',
    }, icon('M21 12a8 8 0 0 1-8 8H4l2-3a8 8 0 1 1 15-5z'));
    const close = make('button', {type: 'button', 'aria-label': word ?? CLOSE.en}, icon('M6 6l12 12M18 6L6 18'));
    if (!word) close.lang = 'en';
    const panel = make('dialog', {id: 'panel', 'aria-labelledby': 'name'},
      make('header', {}, make('h2', {id: 'name', dir: 'auto'}, name), close));
    if (config.greeting) {
      panel.append(make('p', {id: 'greeting', dir: 'auto'}, config.greeting));
      panel.setAttribute('aria-describedby', 'greeting');
    }
    const box = make('div', {class: 'box'}, launcher, panel);
    if (config.appearance.edge_glow) box.append(make('div', {class: 'glow'}));
    const root = host.attachShadow({mode: 'open'});
    const look = {...config.appearance, color: opaque(config.appearance.color)};
    root.adoptedStyleSheets = [style(look)];
    root.append(box);
    return {host, root, launcher, panel, close};
  };

  const start = config => {
    const {host, root, launcher, panel, close} = build(config);
    let isReported = false;

    // Not modal: the page stays in reach. The panel follows its launcher in the order of tabs, takes the focus when it
    // opens, and gives it back.
    const open = () => {
      panel.show();
      launcher.setAttribute('aria-expanded', 'true');
      close.focus();
      if (isReported) return;
      isReported = true;
      // Simple, as Fetch has it: no preflight. With "cors" the origin is told whatever the page's referrer policy is.
      const url = new URL(`sessions?${new URLSearchParams({page: location.pathname})}`, api);
      fetch(url, {method: 'POST', mode: 'cors', credentials: 'omit', keepalive: true}).catch(() => {});
    };
    const shut = () => {
      panel.close();
      launcher.setAttribute('aria-expanded', 'false');
    };
    launcher.addEventListener('click', () => (panel.open ? shut() : open()));
    close.addEventListener('click', () => {
      shut();
      launcher.focus();
    });
    root.addEventListener('keydown', event => {
      if (event.key !== 'Escape' || !panel.open) return;
      event.stopPropagation();
      shut();
      launcher.focus();
    });

    const refresh = () => {
      if (!isShown(config)) {
        if (panel.open) shut();
        host.remove();
      } else if (!host.isConnected) {
        document.body.append(host);
      }
    };
    instance.refresh = refresh;
    // Pages that change their address without being loaded anew. Where there is no Navigation API, "back" is noticed.
    window.navigation?.addEventListener('currententrychange', refresh);
    addEventListener('popstate', refresh);
    refresh();
  };

  const instance = (window[KEY] = {refresh() {}});
  const parsed = document.body
    ? Promise.resolve()
    : new Promise(resolve => document.addEventListener('DOMContentLoaded', resolve, {once: true}));
  // Kept once it is known whether there is a widget.
  instance.ready = fetch(new URL('config', api), {mode: 'cors', credentials: 'omit'})
    .then(answer => (answer.ok ? answer.json() : null)) // gone, or not for this site: there is no widget
    .then(config => config && parsed.then(() => start(config)))
    .catch(error => console.error('Spacelane widget:', error));
})();
