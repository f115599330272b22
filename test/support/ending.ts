import { readFileSync } from "node:fs";

/** Why a program has to end before its own end. */
export interface Ending {
	readonly signal: AbortSignal;
	/** The exit code that a shell expects then. */
	readonly exitCode: number;
	readonly why: string;
	/** Ends it when it takes longer. Returns what takes that back. */
	readonly limit: (milliseconds: number) => () => void;
}

/** Watches for everything that can end this process early, so that each ends it through the same clean-up. */
export function watchForEnding(): Ending {
	const controller = new AbortController();
	let exitCode = 1;
	let why = "";
	const end = (code: number, reason: string): void => {
		if (controller.signal.aborted) return;
		exitCode = code;
		why = reason;
		controller.abort();
	};
	// A second Ctrl-C changes nothing: the clean-up takes a few seconds at most. npm, too, passes each on once more.
	for (const [name, code] of Object.entries({ SIGHUP: 129, SIGINT: 130, SIGQUIT: 131, SIGTERM: 143 })) {
		process.on(name, () => end(code, `${name} was received`));
	}
	// Such as `npm run demo | head`.
	process.stdout.on("error", () => end(141, "nobody reads its output"));
	process.stderr.on("error", () => end(141, "nobody reads its output"));
	process.on("uncaughtException", (error) => end(1, error.message));
	// A shell or npm that is killed does not take us along.
	const starters = findStarters();
	setInterval(() => {
		if (findStarters() !== starters) end(1, "who started it has ended");
	}, 500).unref();
	return {
		signal: controller.signal,
		get exitCode() {
			return exitCode;
		},
		get why() {
			return why;
		},
		limit: (milliseconds) => {
			const timer = setTimeout(() => end(1, `it took longer than ${milliseconds / 1000} s`), milliseconds).unref();
			return () => clearTimeout(timer);
		},
	};
}

/** The parent, and when that is npm's shell, npm itself: process ids. */
function findStarters(): string {
	const parent = process.ppid;
	try {
		const status = readFileSync(`/proc/${parent}/status`, "utf8");
		const grandparent = /^PPid:\s*(\d+)$/m.exec(status)?.[1];
		return /^Name:\s*sh$/m.test(status) ? `${parent} ${grandparent}` : String(parent);
	} catch {
		// It has just ended.
		return "";
	}
}
