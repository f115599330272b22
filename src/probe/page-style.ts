/** The status page's style sheet. Every colour pair has a contrast of at least 4.5 to 1; a test measures it. */
export const pageStyle = `
:root {
	color-scheme: light dark;
	--ground: #f3f5f8; --card: #ffffff; --line: #d9dfe7; --text: #1a222d; --quiet: #556072; --link: #0b57a4;
	--good: #0f5f37; --good-ground: #e0f3e8;
	--warn: #754700; --warn-ground: #fcefd3;
	--bad: #9c1a12; --bad-ground: #fde9e7;
	--busy: #1a4d99; --busy-ground: #e4edfb;
	--off: #4a5463; --off-ground: #e8ebf0;
}
@media (prefers-color-scheme: dark) {
	:root {
		--ground: #0e1319; --card: #161d26; --line: #2b3542; --text: #e3e8ee; --quiet: #9aa7b7; --link: #85bbff;
		--good: #82dca6; --good-ground: #12301f;
		--warn: #f2c368; --warn-ground: #33270d;
		--bad: #ffa39b; --bad-ground: #3a1a18;
		--busy: #9ac1ff; --busy-ground: #152a4a;
		--off: #b5bfcb; --off-ground: #262e39;
	}
}
[data-tone="good"] { --tone: var(--good); --tone-ground: var(--good-ground); }
[data-tone="warn"] { --tone: var(--warn); --tone-ground: var(--warn-ground); }
[data-tone="bad"] { --tone: var(--bad); --tone-ground: var(--bad-ground); }
[data-tone="busy"] { --tone: var(--busy); --tone-ground: var(--busy-ground); }
[data-tone="off"] { --tone: var(--off); --tone-ground: var(--off-ground); }

* { box-sizing: border-box; margin: 0; }
[hidden] { display: none !important; }
body {
	max-width: 76rem; margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 3rem;
	background: var(--ground); color: var(--text);
	font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
	overflow-wrap: anywhere; font-variant-numeric: tabular-nums;
}
a { color: var(--link); text-underline-offset: 0.15em; }
a:focus-visible { outline: 2px solid var(--link); outline-offset: 3px; border-radius: 2px; }
code, .where dd, h1 { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
h1 { font-size: clamp(1.05rem, 2.6vw, 1.45rem); font-weight: 600; line-height: 1.3; margin: 0.35rem 0 0.75rem; }
h2 { font-size: 1.05rem; font-weight: 650; line-height: 1.4; }
.line { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 0.35rem 0.75rem; }
.product, .live { color: var(--quiet); font-size: 0.875rem; }
.overall { justify-content: flex-start; }
.overall .pill { font-size: 1rem; padding: 0.3rem 0.85rem; }

.pill {
	display: inline-flex; align-items: center; gap: 0.45rem; padding: 0.15rem 0.65rem; border-radius: 99rem;
	background: var(--tone-ground); color: var(--tone); font-size: 0.875rem; font-weight: 650;
}
.pill::before { content: ""; flex: none; width: 0.6rem; height: 0.6rem; background: currentColor; border-radius: 50%; }
.pill[data-tone="warn"]::before { border-radius: 0; clip-path: polygon(50% 0, 100% 100%, 0 100%); }
.pill[data-tone="bad"]::before { border-radius: 0; clip-path: polygon(20% 0, 50% 30%, 80% 0, 100% 20%, 70% 50%, 100% 80%, 80% 100%, 50% 70%, 20% 100%, 0 80%, 30% 50%, 0 20%); }
.pill[data-tone="busy"]::before { background: none; border: 2px solid currentColor; }
.pill[data-tone="off"]::before { height: 0.2rem; border-radius: 1px; }
@media (prefers-reduced-motion: no-preference) {
	.pill[data-tone="busy"]::before { border-right-color: transparent; animation: turn 1.2s linear infinite; }
	@keyframes turn { to { rotate: 1turn; } }
}

.notice { margin-top: 1.25rem; padding: 0.85rem 1.15rem; border-radius: 0.75rem; background: var(--tone-ground); }
.notice h2 { font-size: 0.95rem; color: var(--tone); }
.notice ul { padding-left: 1.2rem; }
.notice li + li { margin-top: 0.35rem; }

#mounts { display: grid; gap: 0.9rem; margin-top: 1.5rem; padding: 0; list-style: none; }
article { padding: 1rem 1.25rem 1.15rem; background: var(--card); border: 1px solid var(--line); border-radius: 0.9rem; }
article[data-tone="warn"], article[data-tone="bad"] { border-color: var(--tone); }
article .line h2 { min-width: 0; }
dl { font-size: 0.9375rem; }
dt { color: var(--quiet); font-size: 0.8125rem; line-height: 1.4; }
dd[data-tone] { color: var(--tone); font-weight: 600; }
.where { display: grid; gap: 0.1rem; margin-top: 0.4rem; }
.where div { display: grid; grid-template-columns: 3.5rem 1fr; align-items: baseline; }
.where dd { font-size: 0.875rem; }
.reason, .retry, .waits { margin-top: 0.6rem; }
.waits, #rejected-why { white-space: pre-line; overflow-wrap: anywhere; }
.error { margin-top: 0.75rem; padding: 0.65rem 0.9rem; border-radius: 0.55rem; background: var(--tone-ground); font-size: 0.9375rem; }
.error .title { color: var(--tone); }
.error .quiet { color: inherit; }
.error p + p { margin-top: 0.2rem; }
.error code { font-size: 0.875rem; }
.error strong + code { margin: 0 0.35rem; }
.facts {
	display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0.65rem 1.25rem;
	margin-top: 0.85rem; padding-top: 0.85rem; border-top: 1px solid var(--line);
}
.since { grid-column: span 2; }
@media (min-width: 44rem) {
	.facts { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
}
@media (min-width: 76rem) {
	.facts { grid-template-columns: 18.5rem 5.5rem 5.5rem 6rem 10.5rem 4.5rem 5.5rem 1fr; gap: 0.65rem 0.9rem; }
	.since { grid-column: auto; }
}
.charts {
	display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); gap: 0.85rem 1.25rem;
	margin-top: 0.85rem; padding-top: 0.85rem; border-top: 1px solid var(--line);
}
figcaption { font-size: 0.8125rem; line-height: 1.4; color: var(--quiet); }
figcaption b { font-weight: 600; color: var(--series); }
figure svg { display: block; width: 100%; height: 2.75rem; margin-top: 0.2rem; border-bottom: 1px solid var(--line); }
figure path { fill: none; stroke: var(--series); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.first { --series: var(--link); }
.second { --series: var(--warn); }
.quiet { color: var(--quiet); font-size: 0.8125rem; }
.empty { margin-top: 1.5rem; padding: 2.5rem 1.5rem; border: 1px dashed var(--line); border-radius: 0.9rem; text-align: center; color: var(--quiet); }

footer { margin-top: 2rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: 0.875rem; color: var(--quiet); }
footer nav { display: flex; flex-wrap: wrap; gap: 0.35rem 1.25rem; margin-bottom: 0.5rem; }
.heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

body[data-contact="lost"] main { filter: grayscale(1); }
body[data-contact="lost"] article { border-style: dashed; }
`;
