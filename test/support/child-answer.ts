import type { ChildProcess } from "node:child_process";

/**
 * The next message of that kind from a process with a channel. Rejects with its reason when it says that it failed, when it ends, and
 * when it takes too long.
 */
export async function answerOf<Message extends { readonly kind: string }, Kind extends Message["kind"]>(
	child: ChildProcess,
	kind: Kind,
	{ limitMs, log }: { readonly limitMs: number; readonly log: readonly string[] },
): Promise<Message & { readonly kind: Kind }> {
	const answered = Promise.withResolvers<Message & { readonly kind: Kind }>();
	const onMessage = (message: Message | { readonly kind: "failed"; readonly reason: string }): void => {
		if (message.kind === kind) answered.resolve(message as Message & { readonly kind: Kind });
		else if (message.kind === "failed" && "reason" in message) answered.reject(new Error(message.reason));
	};
	const onExit = (): void => answered.reject(new Error(`the process ended\n${log.join("\n")}`));
	child.on("message", onMessage);
	child.on("exit", onExit);
	const timer = setTimeout(() => answered.reject(new Error(`no ${kind} within ${limitMs} ms`)), limitMs);
	try {
		return await answered.promise;
	} finally {
		clearTimeout(timer);
		child.off("message", onMessage);
		child.off("exit", onExit);
	}
}
