/**
 * Waiting for whatever comes first. Promise.race leaves a reaction at each of its promises for as long as that lives, settled or not, and
 * AbortSignal.any an entry at each of its signals: looking again and again at what lives as long as the process fills its memory. All of
 * these detach what they attached when they are over.
 */

interface Listener<T> {
	readonly resolve: (value: T) => void;
	readonly reject: (reason: unknown) => void;
}

/** A promise's reactions cannot be taken back: so it has one, which tells those who still listen. */
const listening = new WeakMap<PromiseLike<unknown>, Set<Listener<unknown>>>();

function listen<T>(work: PromiseLike<T>, listener: Listener<T>): () => void {
	const listeners = listening.get(work) ?? listenersOf(work);
	const entry = listener as Listener<unknown>;
	listeners.add(entry);
	return () => listeners.delete(entry);
}

function listenersOf(work: PromiseLike<unknown>): Set<Listener<unknown>> {
	const listeners = new Set<Listener<unknown>>();
	listening.set(work, listeners);
	const settle = (tell: (listener: Listener<unknown>) => void): void => {
		listening.delete(work);
		for (const listener of listeners) tell(listener);
	};
	void work.then(
		(value) => settle(({ resolve }) => resolve(value)),
		(reason: unknown) => settle(({ reject }) => reject(reason)),
	);
	return listeners;
}

function whenAborted(signal: AbortSignal, abort: () => void): () => void {
	if (signal.aborted) abort();
	signal.addEventListener("abort", abort);
	return () => signal.removeEventListener("abort", abort);
}

function whenReached(limit: number | AbortSignal, reached: () => void): () => void {
	if (typeof limit !== "number") return whenAborted(limit, reached);
	const timer = setTimeout(reached, limit);
	return () => clearTimeout(timer);
}

/** What the listener is told first; then nobody listens any more. */
async function firstTold<T>(attach: (listener: Listener<T>) => readonly (() => void)[]): Promise<T> {
	const { promise, resolve, reject } = Promise.withResolvers<T>();
	const detach = attach({ resolve, reject });
	try {
		return await promise;
	} finally {
		for (const each of detach) each();
	}
}

/** What the first of them to settle comes to. How the others end nobody hears. */
export async function firstOf<Works extends readonly PromiseLike<unknown>[]>(
	works: Works,
): Promise<Awaited<Works[number]>> {
	return firstTold<Awaited<Works[number]>>((listener) =>
		works.map((work) => listen(work, listener as Listener<unknown>)),
	);
}

/** What the work comes to, or undefined if the first of the limits comes sooner: so many milliseconds, or a signal that is aborted. */
export async function within<T>(
	work: PromiseLike<T>,
	...limits: readonly (number | AbortSignal)[]
): Promise<T | undefined> {
	return firstTold<T | undefined>((listener) => [
		listen(work, listener),
		...limits.map((limit) => whenReached(limit, () => listener.resolve(undefined))),
	]);
}

/** What the work comes to, unless the signal aborts first: not everything can be interrupted, such as a name lookup. */
export async function orAbort<T>(work: PromiseLike<T>, signal: AbortSignal): Promise<T> {
	return firstTold<T>((listener) => [
		listen(work, listener),
		whenAborted(signal, () => listener.reject(signal.reason)),
	]);
}

/** Does the work with a signal that is aborted as soon as one of these is. It counts no more when the work is done. */
export async function withEither<T>(
	signals: readonly (AbortSignal | undefined)[],
	work: (either: AbortSignal) => Promise<T>,
): Promise<T> {
	const either = new AbortController();
	const detach = signals.map((signal) => signal && whenAborted(signal, () => either.abort(signal.reason)));
	try {
		return await work(either.signal);
	} finally {
		for (const each of detach) each?.();
	}
}
