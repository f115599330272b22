/**
 * The status page's script, for the browser. It asks for `status` every 2 s, for `history` and `open-files` every 15 s, and shows ages against the launcher's clock, which it learns
 * from the Date header: the viewer's may differ. What is text there stays text here: textContent only.
 */
export const pageScript = String.raw`
"use strict";
(() => {
	const pollMs = 2000;
	const chartMs = 15_000;
	const chartPoints = 60;
	const timeoutMs = 4000;

	const tones = {
		pending: "busy", checking: "busy", starting: "busy", ready: "good", degraded: "warn",
		recovering: "warn", failed: "bad", draining: "off", stopped: "off",
	};
	const urgency = ["bad", "warn", "busy", "good", "off"];
	const byId = (id) => document.getElementById(id);
	const announcer = byId("announcer");
	const list = byId("mounts");
	const cards = new Map();
	const words = new Map();

	let status;
	let receivedAt = 0;
	let clockOffset = 0;
	let lostSince;
	let lostReason = "";

	function write(element, text, tone) {
		// Untouched text keeps its selection, and a screen reader stays quiet.
		if (element.textContent !== text) element.textContent = text;
		if (tone === undefined) element.removeAttribute("data-tone");
		else if (element.dataset.tone !== tone) element.dataset.tone = tone;
	}

	function show(element, visible) {
		if (element.hidden === visible) element.hidden = !visible;
	}

	function writeHint(element, error) {
		show(element, error.hint !== undefined);
		write(element, error.hint === undefined ? "" : "What to do: " + error.hint);
	}

	function span(ms) {
		const seconds = Math.max(0, Math.floor(ms / 1000));
		const minutes = Math.floor(seconds / 60);
		const hours = Math.floor(minutes / 60);
		const days = Math.floor(hours / 24);
		if (days > 0) return days + " d " + (hours % 24) + " h";
		if (hours > 0) return hours + " h " + (minutes % 60) + " min";
		if (minutes > 0) return minutes + " min " + (seconds % 60) + " s";
		return seconds + " s";
	}

	const now = () => Date.now() + clockOffset;
	const age = (time) => span(now() - Date.parse(time));
	// UTC, as in the log.
	const clock = (ms) => new Date(ms).toISOString().slice(11, 19) + " UTC";
	const instant = (time) => (Number.isNaN(Date.parse(time)) ? String(time) : new Date(time).toISOString().slice(0, 19).replace("T", " ") + " UTC");
	const capitalised = (word) => word.charAt(0).toUpperCase() + word.slice(1);
	const plural = (count, noun) => count + " " + noun + (count === 1 ? "" : "s");

	function judgeMount(mount) {
		const word = capitalised(mount.state);
		if (mount.state === "degraded" && !mount.ready) return { tone: "bad", word: word + ", not ready" };
		return { tone: tones[mount.state] || "off", word };
	}

	function judge({ alive, state, started, mounts }) {
		const ready = mounts.filter((mount) => mount.ready).length;
		const degraded = mounts.filter((mount) => mount.ready && mount.state !== "ready").length;
		const summary = mounts.length === 0 ? "" : ready + " of " + plural(mounts.length, "mount") + " ready" + (degraded > 0 ? ", " + degraded + " degraded" : "");
		if (!alive) return { tone: "bad", word: "Needs a restart", summary };
		if (state === "draining") return { tone: "off", word: "Draining", summary };
		if (mounts.length === 0) return started ? { tone: "good", word: "Ready", summary: "no mounts" } : { tone: "busy", word: "Starting", summary };
		if (ready === mounts.length) return degraded > 0 ? { tone: "warn", word: "Ready, degraded", summary } : { tone: "good", word: "Ready", summary };
		const broken = mounts.some((mount) => !mount.ready && (mount.lastError !== undefined || judgeMount(mount).tone !== "busy"));
		return broken ? { tone: "bad", word: "Not ready", summary } : { tone: "busy", word: "Starting", summary };
	}

	const round = (value) => (value >= 10 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1));
	function bytes(value) {
		const units = ["B", "KiB", "MiB", "GiB", "TiB"];
		let unit = 0;
		for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
		return round(value) + " " + units[unit];
	}
	const rate = (value) => bytes(value) + "/s";
	const seconds = (value) => (value >= 1 ? round(value) + " s" : value >= 0.001 ? round(value * 1000) + " ms" : round(value * 1e6) + " µs");
	const percent = (value) => Math.round(value * 100) + " %";
	const charts = [
		["Throughput", rate, [["read", "readBytesPerSecond"], ["written", "writtenBytesPerSecond"]]],
		["Operations a second", round, [["all", "operationsPerSecond"], ["names not there", "absentPerSecond"]]],
		["Nine of ten within", seconds, [["operations", "operationSeconds"], ["first byte of S3", "firstByteSeconds"]]],
		["Requests to S3 a second", round, [["all", "requestsPerSecond"], ["tried again", "retriesPerSecond"]]],
		["Reads from memory", percent, [["", "cacheHits"]]],
		["Not in the bucket yet", bytes, [["", "pendingBytes"]]],
		["Open files", round, [["", "openFiles"]]],
	];

	function createChart() {
		const figure = document.createElement("figure");
		const caption = document.createElement("figcaption");
		const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
		svg.setAttribute("viewBox", "0 0 " + (chartPoints - 1) + " 24");
		svg.setAttribute("preserveAspectRatio", "none");
		svg.setAttribute("role", "img");
		figure.append(caption, svg);
		return figure;
	}

	function fillChart(figure, [title, shown, series], past) {
		const [caption, svg] = figure.children;
		const most = Math.max(0, ...series.flatMap(([, name]) => past[name]));
		const said = [];
		caption.replaceChildren(title);
		svg.replaceChildren();
		series.forEach(([label, name], index) => {
			const values = past[name];
			const last = values.at(-1);
			const value = document.createElement("b");
			value.className = index === 0 ? "first" : "second";
			value.textContent = (label === "" ? "" : label + " ") + (last === undefined || last === null ? "–" : shown(last));
			caption.append(index === 0 ? ": " : ", ", value);
			said.push(value.textContent);
			const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
			path.setAttribute("class", value.className);
			let pen = "M";
			path.setAttribute("d", values.map((each, at) => {
				if (each === null) {
					pen = "M";
					return "";
				}
				const place = (chartPoints - values.length + at) + " " + (23 - (most === 0 ? 0 : (22 * each) / most)).toFixed(2);
				// What stands alone is a dot's breadth.
				const drawn = pen === "M" ? "M" + place + "h0.3" : "L" + place;
				pen = "L";
				return drawn;
			}).join(""));
			svg.append(path);
		});
		caption.append(", at most " + shown(most));
		svg.setAttribute("aria-label", title + " in the last quarter of an hour: " + said.join(", ") + " now, at most " + shown(most));
	}

	function fillCharts({ mounts }) {
		for (const past of mounts) {
			const card = cards.get("1 " + past.mount);
			if (card === undefined || past.readBytesPerSecond.length === 0) continue;
			const { charts: place } = card.field;
			charts.forEach((chart, index) => {
				if (place.children[index] === undefined) place.append(createChart());
				fillChart(place.children[index], chart, past);
			});
			show(place, true);
		}
	}

	function fillOpeners({ mounts }) {
		const byMount = new Map(mounts.map((mount) => [mount.mount, mount]));
		for (const [key, { field }] of cards) {
			const open = key.startsWith("1 ") ? byMount.get(key.slice(2)) : undefined;
			show(field.openers, open !== undefined);
			write(field.openers, open === undefined ? "" : "Open: " + open.openers.map(({ files, command, pid, pod }) =>
				plural(files, "file") + " by " + command.split("/").at(-1) + " (pid " + pid + (pod === undefined ? "" : ", pod " + pod) + ")").join(", ")
				+ (open.others > 0 ? ", and by " + open.others + " more" : ""));
		}
	}

	function createCard() {
		const root = byId("card").content.firstElementChild.cloneNode(true);
		const field = Object.create(null);
		for (const element of root.querySelectorAll("[data-field]")) field[element.dataset.field] = element;
		return { root, field, article: root.firstElementChild };
	}

	function fillCard({ field, article }, mount) {
		const { tone, word } = judgeMount(mount);
		article.dataset.tone = tone;
		write(field.name, mount.name);
		write(field.state, word, tone);

		const error = mount.lastError;
		const current = error !== undefined && !mount.ready;
		show(field.reason, mount.reason !== undefined && !(current && error.message === mount.reason));
		write(field.reason, mount.reason || "");
		const troubles = mount.troubles || [];
		show(field.troubles, troubles.length > 0);
		write(field.troubles, troubles.map((trouble) => trouble.message + ", since " + instant(trouble.since)).join(". "));
		const refused = mount.refusals === undefined ? undefined : mount.refusals.last;
		show(field.refused, refused !== undefined);
		write(field.refused, refused === undefined ? "" : "Refused " + age(refused.at) + " ago: " + refused.message + (refused.hint === undefined ? "" : " What to do: " + refused.hint));
		const concessions = mount.concessions || [];
		show(field.concessions, concessions.length > 0);
		write(field.concessions, concessions.map((concession) => concession.message).join(" "));
		show(field.error, error !== undefined);
		if (error !== undefined) {
			field.error.dataset.tone = current ? "bad" : "off";
			write(field.errorTitle, current ? "Error" : "Last error, since recovered");
			write(field.errorCode, error.code);
			write(field.errorAt, age(error.at) + " ago, " + instant(error.at));
			write(field.errorMessage, error.message);
			writeHint(field.errorHint, error);
		}

		write(field.source, mount.source);
		write(field.target, mount.target);
		write(field.sinceAgo, age(mount.since));
		write(field.sinceAt, "since " + instant(mount.since));
		write(field.driver, mount.driver);
		write(field.access, mount.readOnly ? "read-only" : "read-write");
		write(field.restarts, String(mount.restarts));
		write(field.layers, mount.layers > 1 ? mount.layers + " stacked" : String(mount.layers));
		write(field.process, mount.pid === undefined ? "none" : "pid " + mount.pid);

		if (mount.answeredSecondsAgo === undefined) write(field.answered, "none yet");
		else {
			const answeredMs = mount.answeredSecondsAgo * 1000 + (Date.now() - receivedAt);
			// While contact is lost the age grows on our side and says nothing about the mount.
			write(field.answered, answeredMs < 1000 ? "just now" : span(answeredMs) + " ago", mount.answeredSecondsAgo > 5 ? "bad" : undefined);
		}
		if (mount.backend === undefined) write(field.backend, "not checked");
		else write(field.backend, (mount.backend.ok ? "reachable" : "failing") + (mount.backend.seconds === undefined ? "" : " in " + seconds(mount.backend.seconds)) + ", " + age(mount.backend.checkedAt) + " ago", mount.backend.ok ? undefined : "bad");

		show(field.waits, mount.pendingChange !== undefined);
		write(field.waits, mount.pendingChange === undefined ? "" : "A change waits: " + mount.pendingChange);
		show(field.retry, mount.retryAt !== undefined);
		const retryMs = mount.retryAt === undefined ? 0 : Date.parse(mount.retryAt) - now();
		write(field.retry, retryMs > 0 ? "Next try in " + span(retryMs + 999) : "Trying again now");
	}

	function fillMounts(mounts) {
		const seen = new Map();
		const ordered = [];
		for (const mount of mounts) {
			// Names should be unique; two that are not must not share a card.
			const twin = (seen.get(mount.name) || 0) + 1;
			seen.set(mount.name, twin);
			const key = twin + " " + mount.name;
			if (!cards.has(key)) cards.set(key, createCard());
			fillCard(cards.get(key), mount);
			ordered.push({ key, rank: urgency.indexOf(judgeMount(mount).tone) });
		}
		const kept = new Set(ordered.map(({ key }) => key));
		for (const [key, { root }] of cards) {
			if (kept.has(key)) continue;
			root.remove();
			cards.delete(key);
		}
		// What needs a person comes first; among equals the dataset's order stays.
		ordered.sort((one, other) => one.rank - other.rank);
		ordered.forEach(({ key }, index) => {
			const { root } = cards.get(key);
			if (list.children[index] !== root) list.insertBefore(root, list.children[index] || null);
		});
	}

	function fillWarnings(warnings) {
		const items = byId("warning-list");
		while (items.children.length > warnings.length) items.lastElementChild.remove();
		while (items.children.length < warnings.length) items.append(document.createElement("li"));
		warnings.forEach((warning, index) => write(items.children[index], warning));
		show(byId("warnings"), warnings.length > 0);
	}

	function fillRejected(config) {
		const error = config !== undefined && config.state === "rejected" ? config.error : undefined;
		show(byId("rejected"), error !== undefined);
		if (error === undefined) return;
		write(byId("rejected-why"), error.code + ": " + error.message);
		writeHint(byId("rejected-hint"), error);
	}

	function announce(mounts, overall) {
		const news = [];
		const compare = (key, subject, word) => {
			if (words.has(key) && words.get(key) !== word) news.push(subject + ": " + word);
			words.set(key, word);
		};
		compare("overall", "All", overall.word);
		for (const mount of mounts) compare("mount " + mount.name, mount.name, judgeMount(mount).word);
		if (news.length > 0) write(announcer, news.join(". "));
	}

	function render() {
		const lost = lostSince !== undefined;
		document.body.dataset.contact = lost ? "lost" : "good";
		show(byId("contact"), lost);
		if (lost) {
			write(byId("contact-text"), lostReason + " No contact since " + clock(lostSince) + " (" + span(now() - lostSince) + "). This page tries again every 2 s; "
				+ (status === undefined ? "nothing is known yet." : "below is what was known at " + clock(receivedAt + clockOffset) + "."));
		}
		if (status === undefined) {
			if (lost) {
				write(byId("overall"), "No contact", "bad");
				write(byId("live"), "no contact");
			}
			return;
		}

		const overall = judge(status);
		document.title = (lost ? "No contact" : overall.word) + " · " + status.targetPath + " · fluid-fuse";
		write(byId("version"), status.version);
		write(byId("target"), status.targetPath);
		write(byId("overall"), lost ? "No contact" : overall.word, lost ? "bad" : overall.tone);
		write(byId("summary"), (lost ? "last known: " + overall.word.toLowerCase() + (overall.summary ? ", " : "") : "") + overall.summary);
		write(byId("live"), lost ? "no contact" : "live, updated " + clock(receivedAt + clockOffset));
		write(byId("about"), "Launcher pid " + status.pid + ", started " + age(status.startedAt) + " ago (" + instant(status.startedAt) + "). Config: " + status.configFile);
		const icon = "data:image/svg+xml," + encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="'
			+ { good: "#1f9d5b", warn: "#d99a1c", bad: "#d6372b", busy: "#3b7ddd", off: "#8a94a3" }[lost ? "bad" : overall.tone] + '"/></svg>');
		if (byId("icon").href !== icon) byId("icon").href = icon;
		fillRejected(status.config);
		fillWarnings(status.warnings);
		fillMounts(status.mounts);
		show(byId("empty"), status.mounts.length === 0 && status.started);
		if (!lost) announce(status.mounts, overall);
	}

	async function poll() {
		try {
			const response = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(timeoutMs) });
			if (!response.ok) throw new Error("It answers with HTTP status " + response.status + ".");
			const received = await response.json();
			if (!Array.isArray(received.mounts)) throw new Error("What answers is not a launcher.");
			const serverTime = Date.parse(response.headers.get("date"));
			receivedAt = Date.now();
			// The header has whole seconds: a smaller difference is no difference.
			clockOffset = Math.abs(serverTime - receivedAt) > 1500 ? serverTime - receivedAt : 0;
			status = received;
			if (lostSince !== undefined) write(announcer, "Contact with the launcher is back");
			lostSince = undefined;
		} catch (error) {
			lostReason = error.name === "TimeoutError" ? "It does not answer in time."
				: error.name === "TypeError" ? "Nothing answers: has the port-forward or the pod ended?"
				: error.name === "SyntaxError" ? "What answers is not a launcher."
				: error.message;
			if (lostSince === undefined) {
				lostSince = now();
				write(announcer, "No contact with the launcher since " + clock(lostSince));
			}
		}
		render();
	}

	async function pollHistory() {
		try {
			for (const [path, fill] of [["history", fillCharts], ["open-files", fillOpeners]]) {
				const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(timeoutMs) });
				if (response.ok) fill(await response.json());
			}
		} catch {
			// What is wrong is told by the other one.
		}
	}

	async function run() {
		let chartsAt = -chartMs;
		for (;;) {
			await poll();
			if (lostSince === undefined && performance.now() - chartsAt >= chartMs) {
				chartsAt = performance.now();
				await pollHistory();
			}
			await new Promise((resolve) => setTimeout(resolve, pollMs));
		}
	}

	setInterval(render, 1000);
	void run();
})();
`;
