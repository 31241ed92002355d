#!/bin/sh
# Takes docs/screenshots: the terminal, as SVGs that terminal.py draws of what `wsp` sends to one, and a run's report, as PNGs.
# The report is looked at in headless Chromium: nothing wider than its window, wide and narrow, and every colour readable, light
# and dark. Needs Debian's `chromium` and `bsdutils` (`script`), and Python; `wsp` is built where it is not.
# Usage: docs/screenshots.sh [terminal | report], both without a word.
set -eu
cd "$(dirname "$0")/.."
wsp=${WSP:-target/debug/wsp}
[ -x "$wsp" ] || cargo build --bin wsp
wsp=$(realpath "$wsp")
work=$(mktemp -d)
running=
trap 'for pid in $running; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"' EXIT
out=docs/screenshots
mkdir -p "$out"

# on_terminal NAME COLUMNS ARGUMENTS: what `wsp` sends to a terminal goes to $work/NAME.bytes.
on_terminal() {
    name=$1 columns=$2
    shift 2
    TERM=xterm script -qefc "stty cols $columns rows 40; cd $work; exec $wsp $*" /dev/null </dev/null >"$work/$name.bytes"
}
# draw NAME COLUMNS PICTURE [REGEX]: the picture of its end, or of the first drawing with REGEX in it.
draw() {
    python3 docs/terminal.py "$2" ${4:+"$4"} <"$work/$1.bytes" >"$work/$3.svg"
    cp "$work/$3.svg" "$out/terminal-$3.svg"
    echo "terminal: $3"
}
# Waits, for a minute at most, until a command succeeds.
until_true() {
    tries=300
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "in vain: $*" >&2; exit 1; }
        sleep 0.2
    done
}

if [ "${1:-terminal}" = terminal ]; then
    on_terminal demo 112 demo --dir demo --events 6000 --rate 1500 --in-flight 16 \
        --faults "'latency=lognormal(3ms,0.9),status=503:0.4%,cut-after=0.2%'"
    draw demo 112 demo ' [45][0-9]%'
    draw demo 112 demo-end

    # A run that was stopped early: the plan shows where it goes on, and another gate takes its rest.
    (cd "$work" && exec "$wsp" demo --dir large --events 1500000 --rate 1500) >/dev/null 2>"$work/large.err" &
    running=$!
    until_true grep -q 'WSP stream start' "$work/large.err"
    sleep 1
    kill -INT "$running"
    wait "$running" || true
    gate=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    sed -i "s|ig_ingest_url: .*|ig_ingest_url: http://127.0.0.1:$gate|" "$work/large/profile.yaml"
    export PLATFORM_RUN_ID=platform_20260101T000000Z
    on_terminal plan 132 plan --profile large/profile.yaml
    draw plan 132 plan-progress ' [2-9][0-9]%'
    draw plan 132 plan

    "$wsp" gate --listen "127.0.0.1:$gate" --api-key demo-key --faults 'latency=lognormal(3ms,0.9),status=503:0.4%' 2>/dev/null >&2 &
    running=$!
    telemetry=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    export WSP_TELEMETRY_LISTEN="127.0.0.1:$telemetry" WSP_TARGET_EPS=1000
    (on_terminal run 112 run --profile large/profile.yaml --once --max-events 9000) &
    run=$!
    streaming() { "$wsp" status | grep -q ' [4-8],[0-9][0-9][0-9] of 9,000'; }
    until_true streaming
    # A terminal goes back to the first column at each end of a line.
    "$wsp" status | sed 's/$/\r/' >"$work/status.bytes"
    wait "$run"
    draw run 112 run ' [3-8],[0-9][0-9][0-9] of 9,000'
    draw run 112 run-end
    draw status 124 status
    kill "$running"
    NO_COLOR=1 on_terminal narrow 60 demo --dir narrow --events 4000 --rate 1500
    draw narrow 60 narrow ' [45][0-9]%'
fi
[ "${1:-report}" = report ] || exit 0

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
