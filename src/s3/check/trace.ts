import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

/** What a request was waiting for. */
export type Phase = "prepare" | "lookup" | "connect" | "tls" | "answer" | "body";

/** What was seen of one request. */
export interface Trace {
	/** How long each phase took that was begun; the last one until the end. */
	readonly ms: Readonly<Partial<Record<Phase, number>>>;
	/** Of the server, or the proxy: `10.0.0.7:443`. */
	readonly peer: string | undefined;
	readonly tls: Handshake | undefined;
}

/** A handshake whose certificate was accepted. */
export interface Handshake {
	/** Such as `TLSv1.3`. */
	readonly protocol: string;
	readonly issuer: string;
	readonly validUntil: Date;
}

/** Keeps the time of one request's phases. */
export class Recorder {
	#phase: Phase = "prepare";
	#since = performance.now();
	readonly #ms: Partial<Record<Phase, number>> = {};
	#peer: string | undefined;
	#tls: Handshake | undefined;

	get phase(): Phase {
		return this.#phase;
	}

	enter(next: Phase): void {
		const now = performance.now();
		this.#ms[this.#phase] = now - this.#since;
		this.#phase = next;
		this.#since = now;
	}

	peer({ remoteAddress, remoteFamily, remotePort }: Socket): void {
		if (remoteAddress === undefined) return;
		this.#peer = `${remoteFamily === "IPv6" ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
	}

	handshake(socket: TLSSocket): void {
		const { issuer, valid_to: validTo } = socket.getPeerCertificate();
		// Where no certificate is asked for there is none.
		const name = issuer?.O ?? issuer?.CN;
		this.#tls = {
			protocol: socket.getProtocol() ?? "TLS",
			issuer: [name].flat()[0] ?? "nobody",
			validUntil: new Date(validTo),
		};
	}

	end(): Trace {
		this.enter(this.#phase);
		return { ms: this.#ms, peer: this.#peer, tls: this.#tls };
	}
}
