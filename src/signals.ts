/**
 * Signals from the first moment on, before there is anybody who can act on them: `main.ts` imports this file before all others. Without
 * it a SIGTERM that comes while the program is being loaded would end it as a crash does. Only for what runs until it is told to end.
 */
const listened = ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2", "SIGPIPE"] as const;

export type Signal = (typeof listened)[number];

const early: Signal[] = [];
let tell = (signal: Signal): void => void early.push(signal);

const [, , command = "run"] = process.argv;
if (command === "run") for (const signal of listened) process.on(signal, () => tell(signal));

/** From now on `listener` is told, first of those that came already. */
export function onSignal(listener: (signal: Signal) => void): void {
	tell = listener;
	for (const signal of early.splice(0)) listener(signal);
}
