import { createHash } from "node:crypto";
import { pageScript } from "./page-script.ts";
import { pageStyle } from "./page-style.ts";

/**
 * What `/` shows to a person with `kubectl port-forward`: one file, no other origin. It holds no data itself; its script reads `/status`, `/history` and `/open-files`
 * and writes with textContent only, because names and messages come from elsewhere.
 */
export const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>fluid-fuse</title>
<link rel="icon" id="icon" href="data:,">
<style>${pageStyle}</style>
</head>
<body>
<header>
	<div class="line">
		<p class="product">fluid-fuse <span id="version"></span></p>
		<p class="live" id="live">connecting…</p>
	</div>
	<h1 id="target">&nbsp;</h1>
	<p class="line overall"><span class="pill" id="overall" data-tone="busy">Connecting</span> <span id="summary"></span></p>
</header>
<section id="contact" class="notice" data-tone="bad" aria-label="Connection" hidden>
	<h2>No contact with the launcher</h2>
	<p id="contact-text"></p>
</section>
<section id="rejected" class="notice" data-tone="warn" aria-labelledby="rejected-title" hidden>
	<h2 id="rejected-title">The changed config cannot be used: what ran goes on</h2>
	<p id="rejected-why"></p>
	<p id="rejected-hint"></p>
</section>
<section id="warnings" class="notice" data-tone="warn" aria-labelledby="warnings-title" hidden>
	<h2 id="warnings-title">Warnings</h2>
	<ul id="warning-list"></ul>
</section>
<main aria-label="Mounts">
	<noscript><p class="empty">This page needs JavaScript. Without it: <a href="readyz?verbose">readyz?verbose</a> and <a href="status">status</a>.</p></noscript>
	<ul id="mounts" role="list"></ul>
	<p id="empty" class="empty" hidden>This dataset has no mounts. An empty folder is served, and mounts that are added to the dataset appear here.</p>
</main>
<footer>
	<nav aria-label="Raw data"><a href="status">status (JSON)</a> <a href="history">history (JSON)</a> <a href="open-files">open files (JSON)</a> <a href="metrics">metrics</a> <a href="readyz?verbose">readyz?verbose</a></nav>
	<p id="about"></p>
</footer>
<div id="announcer" class="heard" role="status" aria-live="polite"></div>
<template id="card">
	<li><article>
		<div class="line">
			<h2 data-field="name"></h2>
			<span class="pill" data-field="state"></span>
		</div>
		<dl class="where">
			<div><dt>Source</dt><dd data-field="source"></dd></div>
			<div><dt>Target</dt><dd data-field="target"></dd></div>
		</dl>
		<p class="reason" data-field="reason"></p>
		<p class="reason" data-field="troubles"></p>
		<p class="reason" data-field="refused"></p>
		<p class="reason" data-field="concessions"></p>
		<p class="reason" data-field="openers" hidden></p>
		<div class="error" data-field="error">
			<p class="title"><strong data-field="errorTitle"></strong> <code data-field="errorCode"></code> <span class="quiet" data-field="errorAt"></span></p>
			<p data-field="errorMessage"></p>
			<p data-field="errorHint"></p>
		</div>
		<p class="retry" data-field="retry"></p>
		<p class="waits" data-field="waits"></p>
		<dl class="facts">
			<div class="since"><dt>In this state for</dt><dd><span data-field="sinceAgo"></span> <span class="quiet" data-field="sinceAt"></span></dd></div>
			<div><dt>Driver</dt><dd data-field="driver"></dd></div>
			<div><dt>Access</dt><dd data-field="access"></dd></div>
			<div><dt>Last answer</dt><dd data-field="answered"></dd></div>
			<div><dt>Backend</dt><dd data-field="backend"></dd></div>
			<div><dt>Restarts</dt><dd data-field="restarts"></dd></div>
			<div><dt>Layers</dt><dd data-field="layers"></dd></div>
			<div><dt>Process</dt><dd data-field="process"></dd></div>
		</dl>
		<div class="charts" data-field="charts" hidden></div>
	</article></li>
</template>
<script>${pageScript}</script>
</body>
</html>
`;

/** Allows exactly the style and the script above, and nothing from anywhere else. */
export const pageSecurityPolicy = [
	"default-src 'none'",
	`style-src '${hash(pageStyle)}'`,
	`script-src '${hash(pageScript)}'`,
	"img-src data:",
	"connect-src 'self'",
	"base-uri 'none'",
	"form-action 'none'",
	"frame-ancestors 'none'",
].join("; ");

function hash(source: string): string {
	return `sha256-${createHash("sha256").update(source).digest("base64")}`;
}
