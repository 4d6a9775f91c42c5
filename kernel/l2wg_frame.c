// SPDX-License-Identifier: GPL-2.0
/*
 * The length of an Ethernet frame, read from the frame's own headers.
 *
 * WireGuard pads what it encrypts to a multiple of 16 bytes, and Ethernet has
 * no length field, so the receiver needs this function to find the frame's end.
 * It also runs on whatever a hostile peer sends. It therefore reads no byte that
 * it has not checked to be there, steps over at most L2WG_FRAME_MAX_NEST
 * headers, and prefers "opaque" wherever it is not sure: an opaque frame crosses
 * unchanged, a malformed one is dropped.
 *
 * Rows of two kinds:
 * - The EtherType alone says what follows (IPv4, ARP, ...). A header that is cut,
 *   or a length that does not fit, makes the frame malformed.
 * - The EtherType is shared by versions and formats, or leads to somebody else's
 *   frame (PTP, MPLS, ...). The frame is opaque unless its header is one that
 *   we know in full. What lies inside a tunnel can't make the frame malformed:
 *   the network that the tunnel leads to judges that.
 *
 * docs/frames.md has the table in prose.
 */
#include "l2wg_frame.h"

enum {
	ETH_HEADER = 14,	/* two addresses and the EtherType */
	TYPE_MIN = 0x0600,	/* IEEE 802.3 3.2.6: below, a length */
	LENGTH_MAX = 1500,	/* IEEE 802.3 3.2.6: above, undefined */
};

enum {
	TYPE_IPV4 = 0x0800,
	TYPE_ARP = 0x0806,
	TYPE_TRILL = 0x22f3,
	TYPE_BATMAN = 0x4305,
	TYPE_RARP = 0x8035,
	TYPE_DDP = 0x809b,
	TYPE_AARP = 0x80f3,
	TYPE_VLAN = 0x8100,
	TYPE_IPX = 0x8137,
	TYPE_IPV6 = 0x86dd,
	TYPE_MAC_CONTROL = 0x8808,
	TYPE_SLOW = 0x8809,
	TYPE_MPLS_UNICAST = 0x8847,
	TYPE_MPLS_MULTICAST = 0x8848,
	TYPE_PPPOE_DISCOVERY = 0x8863,
	TYPE_PPPOE_SESSION = 0x8864,
	TYPE_EAPOL = 0x888e,
	TYPE_ETHERCAT = 0x88a4,
	TYPE_QINQ = 0x88a8,
	TYPE_GOOSE = 0x88b8,
	TYPE_SAMPLED_VALUES = 0x88ba,
	TYPE_PREAUTH = 0x88c7,
	TYPE_LLDP = 0x88cc,
	TYPE_PBB = 0x88e7,
	TYPE_PTP = 0x88f7,
	TYPE_CFM = 0x8902,
	TYPE_ROCE = 0x8915,
	TYPE_NSH = 0x894f,
	TYPE_TAG_9100 = 0x9100,
	TYPE_TAG_9200 = 0x9200,
	TYPE_TAG_9300 = 0x9300,
};

/* A walk over the headers. What type announces starts at pos; pos <= len. */
struct walk {
	const u8 *data;
	u32 avail;
	u32 len;
	u32 pos;
	u32 nest;
	u32 table;	/* version of the table that answers */
	u16 type;
	bool inner;	/* inside a tunnel: nothing is malformed any more */
	struct l2wg_frame out;
};

/* Byte by byte: a frame is aligned to nothing. */
static u16 be16(const u8 *p)
{
	return (u16)(p[0] << 8 | p[1]);
}

static u16 le16(const u8 *p)
{
	return (u16)(p[1] << 8 | p[0]);
}

static u32 rest(const struct walk *w)
{
	return w->len - w->pos;
}

static const u8 *here(const struct walk *w)
{
	return w->data + w->pos;
}

/* The functions from here on return false when w->out holds the answer, and
 * true when the caller may go on.
 */
static bool answer(struct walk *w, enum l2wg_verdict verdict, u32 len)
{
	w->out.verdict = verdict;
	w->out.len = len;
	return false;
}

static bool opaque(struct walk *w)
{
	return answer(w, L2WG_OPAQUE, 0);
}

static bool wrong(struct walk *w)
{
	return answer(w, L2WG_MALFORMED, 0);
}

/* Are the next n bytes (part of the frame for certain) readable? */
static bool readable(struct walk *w, u32 n)
{
	if (w->pos + n > w->avail)
		return answer(w, L2WG_SHORT, w->pos + n);
	return true;
}

/* The next n bytes are a header that has to be there. */
static bool have(struct walk *w, u32 n)
{
	return n > rest(w) ? wrong(w) : readable(w, n);
}

/* The next n bytes tell whether it is a header that we know. */
static bool peek(struct walk *w, u32 n)
{
	return n > rest(w) ? opaque(w) : readable(w, n);
}

/* The header at pos says that the frame ends n bytes behind pos. */
static bool ends_after(struct walk *w, u32 n)
{
	return answer(w, n > rest(w) ? L2WG_MALFORMED : L2WG_LENGTH, w->pos + n);
}

/* Step over n bytes, the last two of which are the next EtherType. */
static void step(struct walk *w, u32 n)
{
	w->type = be16(here(w) + n - 2);
	w->pos += n;
}

/* The same over a tag, which has to be there. */
static bool tag(struct walk *w, u32 n)
{
	if (!have(w, n))
		return false;
	step(w, n);
	return true;
}

/* IEEE 802.3 3.2.6: bytes of LLC data, padding not included. LLC, SNAP, BPDUs,
 * IS-IS and raw IPX all follow. Values above 1500 are undefined, so one that
 * does not fit contradicts nothing.
 */
static bool length_802_3(struct walk *w)
{
	if (w->type > LENGTH_MAX && w->type > rest(w))
		return opaque(w);
	return ends_after(w, w->type);
}

/* RFC 791 3.1: total length, header included */
static bool ipv4(struct walk *w)
{
	u32 header, total;

	if (!have(w, 20))
		return false;
	header = (here(w)[0] & 0xfU) * 4;
	total = be16(here(w) + 2);
	if (here(w)[0] >> 4 != 4 || header < 20 || total < header)
		return wrong(w);
	return ends_after(w, total);
}

/* RFC 8200 3: payload length, header not included. RFC 2675: the length of a
 * jumbogram is in a hop-by-hop option, and the field is 0.
 */
static bool ipv6(struct walk *w)
{
	u32 payload;

	if (!have(w, 40))
		return false;
	if (here(w)[0] >> 4 != 6)
		return wrong(w);
	payload = be16(here(w) + 4);
	if (!payload && here(w)[6] == 0)
		return opaque(w);
	return ends_after(w, 40 + payload);
}

/* RFC 826, RFC 903: two addresses each of hardware and protocol. ATM (RFC 2225)
 * and IEEE 1394 (RFC 2734) lay the same EtherType out differently.
 */
static bool arp(struct walk *w)
{
	u16 hardware;

	if (!have(w, 8))
		return false;
	hardware = be16(here(w));
	if (hardware == 19 || hardware == 24)
		return opaque(w);
	return ends_after(w, 8 + 2U * here(w)[4] + 2U * here(w)[5]);
}

/* Inside AppleTalk 2: AARP on Ethernet; RFC 826 with AppleTalk addresses */
static bool aarp(struct walk *w)
{
	if (!have(w, 6))
		return false;
	if (here(w)[4] != 6 || here(w)[5] != 4)
		return opaque(w);
	return ends_after(w, 28);
}

/* Inside AppleTalk 4: the long DDP header has 13 bytes, its length field 10 bits.
 * EtherTalk Phase 1 (Apple, EtherTalk Packet Formats, 1987) puts a LAP header in
 * front: two nodes and the type 1 or 2, where a long header has its checksum.
 */
static bool ddp(struct walk *w)
{
	u32 length;

	if (!have(w, 3))
		return false;
	if (here(w)[2] == 1 || here(w)[2] == 2)
		return opaque(w);
	length = be16(here(w)) & 0x3ff;
	return length < 13 ? wrong(w) : ends_after(w, length);
}

/* Novell IPX Router Specification 1: length, 30-byte header included */
static bool ipx(struct walk *w)
{
	u32 length;

	if (!have(w, 30))
		return false;
	length = be16(here(w) + 2);
	return length < 30 ? wrong(w) : ends_after(w, length);
}

/* IEEE 802.3 31B (PAUSE: opcode, time), 31D (PFC: opcode, vector, 8 times). The
 * zeros behind are padding. Other opcodes have their own formats.
 */
static bool mac_control(struct walk *w)
{
	if (!have(w, 2))
		return false;
	switch (be16(here(w))) {
	case 0x0001:
		return ends_after(w, 4);
	case 0x0101:
		return ends_after(w, 20);
	default:
		return opaque(w);
	}
}

/* IEEE 802.1AX 6.4.2 (LACP), 6.5.3 (Marker): 110 bytes in version 1. A LACPDU of
 * version 2 may be longer. OAM (IEEE 802.3 57) and the rest have no length.
 */
static bool slow(struct walk *w)
{
	if (!have(w, 2))
		return false;
	if ((here(w)[0] != 1 && here(w)[0] != 2) || here(w)[1] != 1)
		return opaque(w);
	return ends_after(w, 110);
}

/* RFC 2516 4: version 1, type 1; length of the payload */
static bool pppoe(struct walk *w)
{
	if (!have(w, 6))
		return false;
	if (here(w)[0] != 0x11)
		return opaque(w);
	return ends_after(w, 6U + be16(here(w) + 4));
}

/* IEEE 802.1AB 8.4, 8.5.1: TLVs (7 bits of type, 9 bits of length) up to the End
 * TLV. Without one, the frame's end is the end. All of the frame is asked for at
 * once, because each question starts the walk anew.
 */
static bool lldp(struct walk *w)
{
	u32 tlv, value;

	if (!have(w, 2) || !readable(w, rest(w)))
		return false;
	while (rest(w) >= 2) {
		tlv = be16(here(w));
		value = tlv & 0x1ff;
		w->pos += 2;
		if (tlv >> 9 == 0)
			return value ? opaque(w) : ends_after(w, 0);
		if (value > rest(w))
			return ends_after(w, value);
		w->pos += value;
	}
	return opaque(w);
}

/* InfiniBand Architecture Specification 1, A16: a GRH (40 bytes, version 6), the
 * payload that it counts, a CRC of 4 bytes. Hardware counts the CRC in; so a
 * frame that ends before the extra 4 bytes contradicts nothing, but a zero tail
 * would make it 4 bytes longer, and it may not be padded.
 */
static bool roce(struct walk *w)
{
	u32 length;

	if (!have(w, 40))
		return false;
	if (here(w)[0] >> 4 != 6)
		return opaque(w);
	length = 40U + be16(here(w) + 4);
	if (length <= rest(w) && length + 4 > rest(w))
		return opaque(w);
	return ends_after(w, length > rest(w) ? length : length + 4);
}

/* IEEE 802.1X 11.3; 88c7: IEEE 802.11 12.6.10, the same frames. Version, type,
 * length of the body.
 */
static bool eapol(struct walk *w)
{
	if (!peek(w, 4))
		return false;
	if (here(w)[0] < 1 || here(w)[0] > 3)
		return opaque(w);
	return ends_after(w, 4U + be16(here(w) + 2));
}

/* IEEE 1588 13.3 and the annex on IEEE 802.3: version 2; length of the message,
 * from its 34-byte header to its last TLV
 */
static bool ptp(struct walk *w)
{
	u32 length;

	if (!peek(w, 4))
		return false;
	length = be16(here(w) + 2);
	if ((here(w)[1] & 0xf) != 2 || length < 34)
		return opaque(w);
	return ends_after(w, length);
}

/* IEC 61850-8-1 annex C (GOOSE), IEC 61850-9-2 annex A (Sampled Values): APPID,
 * length from there on, 4 reserved bytes, an APDU that starts with its BER tag.
 * What IEC 62351-6 appends is not counted: a trailer.
 */
static bool iec61850(struct walk *w, u8 apdu)
{
	u32 length;

	if (!peek(w, 9))
		return false;
	length = be16(here(w) + 2);
	if (here(w)[8] != apdu || length < 9)
		return opaque(w);
	return ends_after(w, length);
}

/* IEC 61158-4-12 5.3 (ETG.1000.4): 11 bits of length, 1 reserved, 4 of type, in
 * little endian. Type 1 is a chain of datagrams of 12 bytes or more.
 */
static bool ethercat(struct walk *w)
{
	u32 length;

	if (!peek(w, 2))
		return false;
	length = le16(here(w)) & 0x7ff;
	if (here(w)[1] >> 4 != 1 || length < 12)
		return opaque(w);
	return ends_after(w, 2 + length);
}

/* IEEE 802.1Q 21.4, ITU-T Y.1731 9.1: level and version, opcode, flags, offset of
 * the first TLV counted from behind itself; TLVs (type, 2 bytes of length, value)
 * up to the End TLV, one zero byte. No field counts the whole, so an End TLV that
 * is missing contradicts nothing.
 */
static bool cfm(struct walk *w)
{
	u32 skip;

	if (!peek(w, 4))
		return false;
	if (!here(w)[1])
		return opaque(w);
	skip = 4U + here(w)[3];
	if (!readable(w, rest(w)))
		return false;
	while (skip < rest(w)) {
		w->pos += skip;
		if (!here(w)[0])
			return ends_after(w, 1);
		if (rest(w) < 3)
			break;
		skip = 3U + be16(here(w) + 1);
	}
	return opaque(w);
}

/* Below a label stack nothing names the protocol (RFC 4928): what looks like IP
 * may be the address that a frame in a pseudowire starts with. An IPv4 header has
 * a checksum to tell.
 */
static bool mpls_ipv4(struct walk *w)
{
	u32 header = (here(w)[0] & 0xfU) * 4;
	u32 sum = 0;
	u32 i;

	if (!peek(w, header))
		return false;
	for (i = 0; i < header; i += 2)
		sum += be16(here(w) + i);
	/* Once is enough to tell a multiple of ffff from anything else. */
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff ? ipv4(w) : opaque(w);
}

/* An IPv6 header has none, so it must end within the padding of WireGuard. */
static bool mpls_ipv6(struct walk *w)
{
	u32 length;

	if (!peek(w, 40))
		return false;
	length = 40U + be16(here(w) + 4);
	if (length == 40 || length > rest(w) || rest(w) - length > 15)
		return opaque(w);
	return ends_after(w, length);
}

/* RFC 3032 2.1, RFC 5332: labels of 4 bytes up to the one with the S bit */
static bool mpls(struct walk *w)
{
	bool bottom;

	w->inner = true;
	if (!peek(w, 4))
		return false;
	bottom = here(w)[2] & 1;
	w->pos += 4;
	if (!bottom)
		return true;
	if (!peek(w, 1))
		return false;
	switch (here(w)[0] >> 4) {
	case 4:
		return mpls_ipv4(w);
	case 6:
		return mpls_ipv6(w);
	default:
		return opaque(w);
	}
}

/* A tunnel's header of n bytes, then somebody's Ethernet frame */
static bool tunnel(struct walk *w, u32 n)
{
	w->inner = true;
	if (!peek(w, n + ETH_HEADER))
		return false;
	step(w, n + ETH_HEADER);
	return true;
}

/* IEEE 802.1Q 9.7: I-TAG of 4 bytes, then the customer's frame. Its header has
 * to be there, but what it carries is the customer's.
 */
static bool pbb(struct walk *w)
{
	if (!tag(w, 18))
		return false;
	w->inner = true;
	return true;
}

/* include/uapi/linux/batadv_packet.h, version 15: broadcast, unicast, unicast with
 * four addresses. Everything else is the mesh's own.
 */
static bool batman(struct walk *w)
{
	if (!peek(w, 2))
		return false;
	if (here(w)[1] != 15)
		return opaque(w);
	switch (here(w)[0]) {
	case 0x01:
		return tunnel(w, 14);
	case 0x40:
		return tunnel(w, 10);
	case 0x42:
		return tunnel(w, 18);
	default:
		return opaque(w);
	}
}

/* RFC 6325 3: version 0, options in units of 4 bytes (3 bits in the first byte, 2
 * in the second), two nicknames. 4.1: the frame inside is VLAN-tagged.
 */
static bool trill(struct walk *w)
{
	u32 options;

	if (!peek(w, 6))
		return false;
	if (here(w)[0] >> 6)
		return opaque(w);
	options = (here(w)[0] & 7U) << 2 | here(w)[1] >> 6;
	if (!tunnel(w, 6 + options * 4))
		return false;
	return w->type == TYPE_VLAN ? true : opaque(w);
}

/* RFC 8300 2.2: version 0, length of the header in units of 4 bytes (at least 2),
 * next protocol. A header behind it is read as if it had an EtherType.
 */
static bool nsh(struct walk *w)
{
	u32 length;

	if (!peek(w, 8))
		return false;
	length = (here(w)[1] & 0x3fU) * 4;
	if (here(w)[0] >> 6 || length < 8)
		return opaque(w);
	switch (here(w)[3]) {
	case 1:
		w->type = TYPE_IPV4;
		break;
	case 2:
		w->type = TYPE_IPV6;
		break;
	case 3:
		return tunnel(w, length);
	case 4:
		w->type = TYPE_NSH;
		break;
	case 5:
		w->type = TYPE_MPLS_UNICAST;
		break;
	default:
		return opaque(w);
	}
	w->inner = true;
	if (length > rest(w))
		return opaque(w);
	w->pos += length;
	return true;
}

/* The header at pos; returns true when it leads to another one.
 *
 * Version 1 of the table is frozen: a test has a digest of its answers. A row that
 * comes later, or that learns to answer, is opaque in the tables before it:
 *	return w->table < 2 ? opaque(w) : row(w);
 */
static bool header(struct walk *w)
{
	if (w->nest++ == L2WG_FRAME_MAX_NEST || !w->table)
		return opaque(w);
	/* Nearly every frame is one of these. */
	if (w->type == TYPE_IPV4)
		return ipv4(w);
	if (w->type == TYPE_IPV6)
		return ipv6(w);
	if (w->type == TYPE_ARP)
		return arp(w);
	if (w->type < TYPE_MIN)
		return length_802_3(w);
	switch (w->type) {
	case TYPE_VLAN:
	case TYPE_QINQ:
	case TYPE_TAG_9100:
	case TYPE_TAG_9200:
	case TYPE_TAG_9300:
		/* IEEE 802.1Q 9.6: tag control information, EtherType */
		return tag(w, 4);
	case TYPE_PBB:
		return pbb(w);
	case TYPE_RARP:
		return arp(w);
	case TYPE_AARP:
		return aarp(w);
	case TYPE_DDP:
		return ddp(w);
	case TYPE_IPX:
		return ipx(w);
	case TYPE_MAC_CONTROL:
		return mac_control(w);
	case TYPE_SLOW:
		return slow(w);
	case TYPE_PPPOE_DISCOVERY:
	case TYPE_PPPOE_SESSION:
		return pppoe(w);
	case TYPE_LLDP:
		return lldp(w);
	case TYPE_ROCE:
		return roce(w);
	case TYPE_MPLS_UNICAST:
	case TYPE_MPLS_MULTICAST:
		return mpls(w);
	case TYPE_EAPOL:
	case TYPE_PREAUTH:
		return eapol(w);
	case TYPE_PTP:
		return ptp(w);
	case TYPE_GOOSE:
		return iec61850(w, 0x61);
	case TYPE_SAMPLED_VALUES:
		return iec61850(w, 0x60);
	case TYPE_ETHERCAT:
		return ethercat(w);
	case TYPE_CFM:
		return cfm(w);
	case TYPE_BATMAN:
		return batman(w);
	case TYPE_TRILL:
		return trill(w);
	case TYPE_NSH:
		return nsh(w);
	default:
		return opaque(w);
	}
}

/**
 * l2wg_frame_parse() - find the length of an Ethernet frame in its headers
 * @data: the frame, from its destination address on
 * @avail: bytes that may be read at @data; at most @len
 * @len: bytes of the whole frame, padding included; below 2^31
 * @table: version of the table that is to answer, %L2WG_FRAME_UNPADS for a
 *	receiver, %L2WG_FRAME_PADS for a sender; version 0 has no rows
 *
 * Reads nothing at or behind @data + @avail. Unless it is %L2WG_SHORT, the answer
 * does not depend on @avail. A frame of which %L2WG_LENGTH is the whole length
 * has the same answer with 1 to 15 zero bytes behind it.
 *
 * Context: Any; pure, without locks, allocation or recursion. The steps are
 * bounded by %L2WG_FRAME_MAX_NEST headers and by the TLVs that fit into @len.
 * Return: the verdict and its length, see &enum l2wg_verdict. A frame of less
 * than 14 bytes is malformed.
 */
struct l2wg_frame l2wg_frame_parse(const u8 *data, u32 avail, u32 len,
				   u32 table)
{
	struct walk w = {
		.data = data, .avail = avail, .len = len, .table = table
	};

	if (have(&w, ETH_HEADER)) {
		step(&w, ETH_HEADER);
		while (header(&w))
			;
	}
	if (w.inner && w.out.verdict == L2WG_MALFORMED)
		opaque(&w);
	return w.out;
}

static bool is_tag(u16 type)
{
	return type == TYPE_VLAN || type == TYPE_QINQ || type == TYPE_TAG_9100 ||
	       type == TYPE_TAG_9200 || type == TYPE_TAG_9300;
}

/* The length up to which zeros behind a frame's end are a NIC's, which has filled
 * the frame up (IEEE 802.3 4.2.3.3): 60 bytes without FCS. A tag that came after
 * that, in a bridge, adds its 4.
 */
static u32 filled(const u8 *data, u32 end)
{
	u32 pos = ETH_HEADER;

	while (pos + 4 <= end && is_tag(be16(data + pos - 2)))
		pos += 4;
	return 60 + pos - ETH_HEADER;
}

static u32 aligned(u32 len)
{
	return (len + 15) & ~15U;
}

/**
 * l2wg_frame_pad() - how many bytes a sender makes of a frame with a known end
 * @data: the frame; its first @end bytes can be read
 * @end: where it ends by its headers (%L2WG_LENGTH)
 * @len: bytes that it has; those behind @end are zeros
 *
 * A frame gets zeros up to a multiple of 16, and the receiver takes whatever is
 * left of them for padding. If the frame has zeros of its own behind its end (a
 * sequence number of 0, as in AFDX), these come behind the padding, so that the
 * receiver can count them: more is there than padding explains. Up to the length
 * to which a NIC fills a frame they are taken for the NIC's, and are not worth it.
 *
 * Context: Any; pure.
 * Return: bytes of the plaintext, @len to @len + 15. Padding that does not fit the
 *	MTU may be left out where @len is @end, and there only.
 */
u32 l2wg_frame_pad(const u8 *data, u32 end, u32 len)
{
	if (len == end)
		return aligned(end);
	return len <= filled(data, end) ? len : len + aligned(end) - end;
}

/**
 * l2wg_frame_unpad() - how many bytes of a plaintext are the frame
 * @data: the plaintext; its first @end bytes can be read
 * @end: where the frame ends by its headers (%L2WG_LENGTH)
 * @len: bytes of the plaintext; those behind @end are zeros
 *
 * The inverse of l2wg_frame_pad(), but for what a NIC has filled up, which is cut.
 *
 * Context: Any; pure.
 * Return: bytes of the frame, @end to @len.
 */
u32 l2wg_frame_unpad(const u8 *data, u32 end, u32 len)
{
	if (len <= aligned(end) || len <= filled(data, end))
		return end;
	return end + len - aligned(end);
}
