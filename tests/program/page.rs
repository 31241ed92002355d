//! The live page that the telemetry listener serves: what it says, to whom, and how a browser shows it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::json;
use wsp_reference::gate::{GateOptions, GateServer};
use wsp_reference::world::WorldSpec;
use wsp_world::model::Secret;

use crate::kit::browser::Browser;
use crate::kit::capture::{CaptureGate, Reply};
use crate::kit::live::publish_world;
use crate::kit::watch::{RUN_ARGS, ask, start};
use crate::kit::{self, FRAUD, KEY, MESSAGE, RUN, Stage, ready_file};

/// Head and body of an answer.
fn whole(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn each_answer_says_what_a_browser_may_do_with_it() {
    let gate = kit::gate();
    let stage = Stage::golden(&gate.base_url());
    stage.remove(&ready_file(MESSAGE));
    let (running, address) = start(&stage, RUN_ARGS);
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                  connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    for (request, status, content_type) in [
        ("GET /", 200, "text/html; charset=utf-8"),
        ("GET /?a=%3Cscript%3E", 200, "text/html; charset=utf-8"),
        ("HEAD /", 200, "text/html; charset=utf-8"),
        ("GET /page.css", 200, "text/css; charset=utf-8"),
        ("GET /page.js", 200, "text/javascript; charset=utf-8"),
        ("GET /icon.svg", 200, "image/svg+xml"),
        ("GET /status", 200, "application/json"),
        ("GET /page.html", 404, "text/plain; charset=utf-8"),
        ("GET //", 404, "text/plain; charset=utf-8"),
        ("GET /%3Cscript%3E", 404, "text/plain; charset=utf-8"),
        ("POST /", 405, "text/plain; charset=utf-8"),
        ("DELETE /page.js", 405, "text/plain; charset=utf-8"),
    ] {
        let (head, body) = whole(&address, request);
        assert!(head.starts_with(&format!("http/1.0 {status}")), "{request}: {head}");
        let fields = [
            &format!("content-type: {content_type}"),
            policy,
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ];
        let lines: Vec<_> = head.lines().collect();
        for field in fields {
            assert_eq!(lines.iter().filter(|line| **line == field).count(), 1, "{request}: {field} in {head}");
        }
        assert_eq!(head.contains("\nallow: get, head"), status == 405, "{request}: {head}");
        assert_eq!(body.is_empty(), request.starts_with("HEAD"), "{request}: {body}");
        assert!(!body.contains("%3C"), "what is asked for is not repeated: {body}");
    }
    let length = |request: &str| {
        let (head, _) = whole(&address, request);
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap()
    };
    assert!(length("HEAD /page.js") == length("GET /page.js") && length("HEAD /") > 1000);
    running.signal("TERM");
    assert_eq!(running.exit().0, Some(0));
}

/// What a service does is on its page from the first wait to the end of a run, without script.
#[test]
fn the_page_follows_a_run_to_its_end() {
    let gate = CaptureGate::scripted(|nth, _| if nth < 100 { Reply::admit() } else { Reply::admit_held() });
    let stage = Stage::golden(&gate.url);
    let message = kit::read(&stage.path(&ready_file(MESSAGE)));
    stage.remove(&ready_file(MESSAGE));
    let (mut running, address) = start(&stage, RUN_ARGS);
    let page = || ask(&address, "GET /").1;
    let shows = |words: &str| page().contains(words);
    running.until("it says what it waits for", || shows(&format!("The service waits for READYs of {RUN} on ")));
    assert!(shows("<span class=\"pill plain\">waiting</span> no run yet"), "{}", page());

    stage.put(&ready_file(MESSAGE), &message);
    running.until("the hundredth answer", || shows("<dt>Events answered</dt><dd>100<small>40.0 % of 250</small></dd>"));
    let streaming = page();
    for words in [
        &format!("<title>streaming · {RUN}</title>"),
        &format!("<h1>{RUN}</h1>"),
        &format!("READY <code>{MESSAGE}</code>"),
        "<progress aria-label=\"share of the run that is answered\" value=\"100\" max=\"250\">40.0 %</progress>",
        "<dt>In flight</dt><dd>1<small>",
        "<dt>Admitted</dt><dd>100<small>0 duplicates</small></dd>",
        "<dt>Retries</dt><dd>0<small>of 100 attempts</small></dd>",
        &format!("<code>{FRAUD}</code>"),
        "<figure class=\"chart\" id=\"rate\">",
        "<figure class=\"chart\" id=\"event-time\">",
        "100 events answered in ",
        "<th scope=\"row\">control_topic</th><td class=\"good\">ready</td>",
    ] {
        assert!(streaming.contains(words), "{words} in {streaming}");
    }
    gate.release();
    running.until("the end", || shows("<span class=\"pill good\">streamed</span> started "));
    running.until("the verdict", || shows("<th scope=\"row\">STREAMED</th>"));
    let ended = page();
    assert!(ended.contains("<dt>Events answered</dt><dd>250<small>in ") && ended.contains("id=\"rate\""), "{ended}");
    assert!(ended.contains(&format!("The service waits for READYs of {RUN}")), "{ended}");
    running.signal("TERM");
    assert_eq!(running.exit().0, Some(0));
}

/// What a gate says of an event stands on the page as text.
#[test]
fn a_refusal_of_others_words_is_text() {
    let gate = CaptureGate::scripted(|nth, _| match nth {
        0..10 => Reply::admit(),
        _ => Reply::Answer(
            422,
            "{\"error\":\"<script>alert(1)</script>\",\"x\":\"<img src=x onerror=alert(2)>\"}".to_owned(),
        ),
    });
    let stage = Stage::golden(&gate.url);
    let (mut running, address) = start(&stage, RUN_ARGS);
    running.until("it failed", || ask(&address, "GET /").1.contains("<span class=\"pill bad\">failed</span>"));
    let page = ask(&address, "GET /").1;
    let refusal = page.split("<p class=\"refusal\">").nth(1).unwrap().split("</p>").next().unwrap();
    assert!(refusal.contains("IG_PUSH_REJECTED") && refusal.contains("&lt;script&gt;"), "{refusal}");
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert!(!page.contains("<img"), "{page}");
}

/// Every text that is not in a picture has to stand out from what is behind it: the contrast that WCAG AA asks for.
const FAINT: &str = r"(() => {
  const luminance = (colour) => {
    const parts = colour.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\)$|transparent/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const faint = [];
  for (const node of document.querySelectorAll('p, h1, h2, h3, dt, dd, small, th, td, li, span, summary, button, code')) {
    if (!node.textContent.trim() || node.closest('svg, noscript, [hidden]')) continue;
    const [one, other] = [luminance(getComputedStyle(node).color), luminance(behind(node))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push(`${node.tagName} ${node.textContent.slice(0, 20)}: ${contrast.toFixed(2)}`);
  }
  return faint.join('; ');
})()";

/// The figure of this name, as it stands on the page.
fn figure(name: &str) -> String {
    format!("[...document.querySelectorAll('dt')].find((dt) => dt.textContent === '{name}')?.nextSibling.textContent")
}

/// A window, wide or narrow, light or dark, and what is behind the page there.
type Look = (&'static str, (u32, u32), &'static str, bool, &'static str);
const LOOKS: [Look; 4] = [
    ("wide", (1200, 900), "light", false, "rgb(246, 247, 249)"),
    ("wide", (1200, 900), "dark", true, "rgb(16, 21, 27)"),
    ("narrow", (360, 780), "light", false, "rgb(246, 247, 249)"),
    ("narrow", (360, 780), "dark", true, "rgb(16, 21, 27)"),
];

/// A run that streams, in a browser: figures and charts move without a new page, in both themes, wide and narrow, and nothing is
/// asked for but the listener's own files. `WSP_PAGE_PICTURES` names a folder for pictures of it.
#[test]
fn a_browser_shows_a_run_as_it_goes_on() {
    let Some(mut browser) = Browser::start() else {
        println!("SKIPPED: no chromium");
        return;
    };
    let faults = "latency=lognormal(3ms,0.9),status=503:0.4%".parse().unwrap();
    let gate = GateServer::start(GateOptions { faults, seed: 7, ..GateOptions::new(Secret::new(KEY)) }).unwrap();
    let (stage, _) = publish_world(&WorldSpec::new(12_000));
    // Two days of event time in three quarters of a minute.
    stage.profile(&gate.base_url(), |profile| {
        profile["policy"]["stream_speedup"] = json!(3840);
        profile["wiring"]["wsp_delivery"] = json!({"mode": "keyed", "in_flight": 16});
    });
    let (running, address) = start(&stage, RUN_ARGS);
    let url = format!("http://{address}/");
    let answered = figure("Events answered");
    for (name, size, scheme, dark, background) in LOOKS {
        browser.look(size, dark);
        browser.open(&url);
        browser.until(&format!("!!document.querySelector('#rate svg') && {answered} !== undefined"));
        // What a reader opened and where the focus is stays.
        browser.value(
            "window.same = true; document.querySelector('#rate details').open = true; \
                       document.querySelector('#rate summary').focus(); true",
        );
        let path = "document.querySelector('#event-time path.area').getAttribute('d')";
        let (figures, curve) = (browser.value(&answered), browser.value(path));
        browser.until(&format!("{answered} !== {figures} && {path} !== {curve}"));
        let kept = "[window.same, document.querySelector('#rate details').open, \
                    document.activeElement === document.querySelector('#rate summary')]";
        assert_eq!(browser.value(kept), json!([true, true, true]), "{name} {scheme}");

        assert_eq!(browser.value("getComputedStyle(document.body).backgroundColor"), background, "{name}");
        assert!(browser.value("document.documentElement.scrollWidth").as_u64() <= Some(size.0.into()), "{name}");
        assert_eq!(browser.value(FAINT), "", "{name} {scheme}");
        let described = "[...document.querySelectorAll('svg[role=img]')].every((svg) => \
                         svg.querySelector('title').textContent && svg.querySelector('desc').textContent)";
        assert_eq!(browser.value(described), true);
        let left = "document.querySelectorAll('svg[role=img]').length";
        assert!(browser.value(left).as_u64() >= Some(3), "{name} {scheme}");
    }
    if let Some(folder) = std::env::var_os("WSP_PAGE_PICTURES").map(PathBuf::from) {
        browser.until("document.querySelector('progress').value > 0.45 * document.querySelector('progress').max");
        for (name, (width, _), scheme, dark, _) in LOOKS {
            browser.look((width, 1240), dark);
            browser.value(
                "document.querySelector('#rate details').open = false; document.activeElement.blur(); scrollTo(0, 0)",
            );
            kit::write(&folder.join(format!("page-{name}-{scheme}.png")), &browser.picture());
        }
    }
    // A page that is paused stays as it is, and goes on when it is asked to.
    browser.value("document.getElementById('pause').click(); true");
    let still = browser.value(&answered);
    kit::live::nap(std::time::Duration::from_secs(3));
    assert_eq!(browser.value(&answered), still);
    browser.value("document.getElementById('pause').click(); true");
    browser.until(&format!("{answered} !== {still}"));

    // It sees the end by itself, and says so to those who listen.
    browser.until("document.title.startsWith('streamed')");
    browser.until("document.getElementById('announcement').textContent === 'streamed'");
    assert_eq!(browser.value("document.getElementById('connection').textContent"), "Updated every 2 s.");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let own = ["", "icon.svg", "page.css", "page.js"].map(|file| format!("{url}{file}"));
    assert!(browser.requests().iter().all(|asked| own.contains(asked)), "{:?}", browser.requests());
    assert!(browser.requests().contains(&own[3]), "{:?}", browser.requests());

    // What got into the page in spite of all escaping could still not run, nor call home.
    let injected = "(() => { const script = document.createElement('script'); script.textContent = 'window.ran = true'; \
                    document.body.append(script); document.body.insertAdjacentHTML('beforeend', \
                    '<button id=trap onclick=\"window.ran = true\">x</button>'); document.getElementById('trap').click(); \
                    return window.ran === undefined; })()";
    assert_eq!(browser.value(injected), true);
    let elsewhere =
        format!("fetch('{}/healthz', {{mode: 'no-cors'}}).then(() => 'sent', () => 'blocked')", gate.base_url());
    assert_eq!(browser.value(&elsewhere), "blocked");
    assert!(!browser.complaints().is_empty(), "the browser reports violations");

    // A listener that is gone is said to be.
    running.signal("TERM");
    assert_eq!(running.exit().0, Some(0));
    browser.until("document.getElementById('connection').textContent.startsWith('No answer since ')");
    browser.until("document.body.classList.contains('stale')");
}
