import { isIP } from "node:net";
import { hostname } from "node:os";

/** Where nobody can register a name on the internet. */
const closedDomain = /\.(localhost|local|internal|svc)$/;

/**
 * Whether a request with this Host header asks for us. A page on the web can have a name of its own point here (DNS rebinding), and
 * its script could then read what we answer: names that somebody may have registered are not ours, except the machine's own.
 */
export function isOwnHost(host: string): boolean {
	const name = URL.parse(`http://${host}`)?.hostname.replace(/\.$/, "");
	if (name === undefined || name === "") return false;
	if (isIP(name.replaceAll(/[[\]]/g, "")) !== 0) return true;
	return !name.includes(".") || closedDomain.test(name) || name === hostname().toLowerCase();
}
