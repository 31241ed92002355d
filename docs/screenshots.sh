#!/bin/sh
# Takes docs/screenshots/*.png of a run's report, and looks at it in headless Chromium: nothing wider than its window, wide
# and narrow, and every colour readable, light and dark. Needs Debian's `chromium`; `wsp` is built where it is not.
set -eu
cd "$(dirname "$0")/.."
wsp=${WSP:-target/debug/wsp}
[ -x "$wsp" ] || cargo build --bin wsp
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=docs/screenshots
mkdir -p "$out"

# A run with something to tell: paced, with a gate that is slow now and then, refuses some and loses some answers.
"$wsp" demo --dir "$work/demo" --events "${EVENTS:-12000}" --rate "${RATE:-1000}" --in-flight 32 \
    --faults 'latency=lognormal(3ms,0.9),status=503:0.4%,cut-after=0.2%' >"$work/demo.txt"
report=$(find "$work/demo/store" -name wsp_report.html)
cp "$report" "$work/report.html"

# The page in a frame of some width, and what is wrong with it, if anything, as the frame's title.
cat >"$work/frame.html" <<'HTML'
<!doctype html><meta charset="utf-8"><style>body{margin:0}iframe{border:0;display:block}</style><body><script>
const [width, height] = location.hash.slice(1).split('x').map(Number);
const frame = document.createElement('iframe');
frame.width = width; frame.height = height; frame.src = 'report.html';
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow, wrong = [];
  if (page.documentElement.scrollWidth > width) wrong.push(`it is ${page.documentElement.scrollWidth} px wide`);
  const luminance = (colour) => {
    const parts = colour.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const solid = (node) => {
    for (; node; node = node.parentElement) {
      const colour = view.getComputedStyle(node).backgroundColor;
      if (!/, 0\)$|transparent/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  for (const node of page.querySelectorAll('p, h1, h2, h3, dt, dd, small, th, td, li, b, span, time, i, summary, footer, code')) {
    if (!node.textContent.trim() || node.closest('svg')) continue;
    const [one, other] = [luminance(view.getComputedStyle(node).color), luminance(solid(node))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) wrong.push(`${node.tagName} "${node.textContent.slice(0, 20)}" has a contrast of ${contrast.toFixed(2)}`);
  }
  const dark = view.matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  document.title = `${dark} ${page.documentElement.scrollHeight} ${[...new Set(wrong)].slice(0, 5).join('; ') || 'fine'}`;
};
document.body.append(frame);
</script>
HTML

browse() {
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --hide-scrollbars --allow-file-access-from-files \
        --user-data-dir="$(mktemp -d -p "$work")" --blink-settings="preferredColorScheme=$1" "$2" \
        --virtual-time-budget=4000 "${3:---no-pings}" "file://$work/frame.html#$4" 2>/dev/null
}

bad=0
for scheme in light dark; do
    number=$([ "$scheme" = dark ] && echo 0 || echo 1)
    for size in wide:1200 narrow:390; do
        name=${size%%:*}
        width=${size##*:}
        told=$(browse "$number" --dump-dom --no-pings "${width}x100" | sed -n 's|.*<title>\(.*\)</title>.*|\1|p')
        echo "$name, $scheme: $told"
        case $told in "$scheme "*" fine") ;; *) bad=1 ;; esac
        height=$(echo "$told" | cut -d' ' -f2)
        browse "$number" "--screenshot=$work/$name-$scheme.png" "--window-size=$width,$height" "${width}x$height"
        # Fewer colours do; where the tool is missing the file is only larger.
        pngquant --force --ext .png 64 "$work/$name-$scheme.png" 2>/dev/null || true
        cp "$work/$name-$scheme.png" "$out/report-$name-$scheme.png"
    done
done
exit $bad
