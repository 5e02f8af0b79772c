/*
 * Prints QXL structures as the C compiler lays them out, one per line, in hexadecimal.
 * TestStructuresLieAsInC compares them with what this package packs.
 */
#include <stdio.h>
#include <string.h>
#include <stdint.h>
#include <spice/qxl_dev.h>

static void line(const char *name, const void *p, size_t n)
{
    printf("%s ", name);
    for (size_t i = 0; i < n; i++) {
        printf("%02x", ((const uint8_t *)p)[i]);
    }
    putchar('\n');
}

static QXLDrawable d;

static void drawable(uint8_t type)
{
    memset(&d, 0, sizeof d);
    d.release_info.id = 7;
    d.surface_id = 3;
    d.effect = 1;
    d.type = type;
    d.self_bitmap = 1;
    d.self_bitmap_area = (QXLRect){ .left = 1, .top = 2, .right = 3, .bottom = 4 };
    d.bbox = (QXLRect){ .left = 10, .top = 20, .right = 30, .bottom = 40 };
    d.mm_time = 0x01020304;
    d.surfaces_dest[0] = d.surfaces_dest[1] = d.surfaces_dest[2] = -1;
}

/* op prints d with the first n bytes of its union, which has room for larger operations. */
static void op(const char *name, size_t n) { line(name, &d, offsetof(QXLDrawable, u) + n); }

static const QXLRect area = { .left = 5, .top = 6, .right = 7, .bottom = 8 };

static void brush(QXLBrush *b)
{
    b->type = 1;
    b->u.color = 0x00aabbcc;
}

int main(void)
{
    drawable(QXL_DRAW_FILL);
    brush(&d.u.fill.brush);
    d.u.fill.rop_descriptor = 8;
    d.u.fill.mask.flags = 1;
    d.u.fill.mask.pos.x = 11;
    d.u.fill.mask.pos.y = 12;
    op("fill", sizeof d.u.fill);

    drawable(QXL_DRAW_OPAQUE);
    d.u.opaque.src_area = area;
    brush(&d.u.opaque.brush);
    d.u.opaque.rop_descriptor = 0x40;
    d.u.opaque.scale_mode = 1;
    op("opaque", sizeof d.u.opaque);

    drawable(QXL_DRAW_COPY);
    d.u.copy.src_area = area;
    d.u.copy.rop_descriptor = 0x408;
    d.u.copy.scale_mode = 1;
    op("copy", sizeof d.u.copy);

    drawable(QXL_COPY_BITS);
    d.u.copy_bits.src_pos.x = 5;
    d.u.copy_bits.src_pos.y = -6;
    op("copy_bits", sizeof d.u.copy_bits);

    drawable(QXL_DRAW_ROP3);
    d.u.rop3.src_area = area;
    brush(&d.u.rop3.brush);
    d.u.rop3.rop3 = 0xca;
    d.u.rop3.scale_mode = 1;
    op("rop3", sizeof d.u.rop3);

    drawable(QXL_DRAW_TRANSPARENT);
    d.u.transparent.src_area = area;
    d.u.transparent.src_color = 0x11223344;
    d.u.transparent.true_color = 0x55667788;
    op("transparent", sizeof d.u.transparent);

    drawable(QXL_DRAW_ALPHA_BLEND);
    d.u.alpha_blend.alpha_flags = 3;
    d.u.alpha_blend.alpha = 200;
    d.u.alpha_blend.src_area = area;
    op("alpha_blend", sizeof d.u.alpha_blend);

    drawable(QXL_DRAW_COMPOSITE);
    d.u.composite.flags = 0x3a | 1 << 8 | 1 << 11 | 2u << 14 | 3u << 16 | 1u << 18;
    d.u.composite.src_origin.x = -2;
    d.u.composite.src_origin.y = 3;
    d.u.composite.mask_origin.x = 4;
    d.u.composite.mask_origin.y = -5;
    op("composite", sizeof d.u.composite);

    drawable(QXL_DRAW_BLACKNESS);
    d.u.blackness.mask.flags = 1;
    op("blackness", sizeof d.u.blackness);

    QXLSurfaceCmd s;
    memset(&s, 0, sizeof s);
    s.release_info.id = 7;
    s.surface_id = 5;
    s.type = QXL_SURFACE_CMD_CREATE;
    s.u.surface_create = (QXLSurface){ .format = 96, .width = 170, .height = 120, .stride = 680, .data = 0x123456789a };
    line("create_surface", &s, sizeof s);
    memset(&s, 0, sizeof s);
    s.release_info.id = 7;
    s.surface_id = 5;
    s.type = QXL_SURFACE_CMD_DESTROY;
    line("destroy_surface", &s, sizeof s);

    QXLCursorCmd c;
    memset(&c, 0, sizeof c);
    c.release_info.id = 7;
    c.type = QXL_CURSOR_SET;
    c.u.set.position.x = -3;
    c.u.set.position.y = 4;
    c.u.set.visible = 1;
    line("set_cursor", &c, sizeof c);
    memset(&c, 0, sizeof c);
    c.release_info.id = 7;
    c.type = QXL_CURSOR_MOVE;
    c.u.position.x = 300;
    c.u.position.y = -1;
    line("move_cursor", &c, sizeof c);
    memset(&c, 0, sizeof c);
    c.release_info.id = 7;
    c.type = QXL_CURSOR_HIDE;
    line("hide_cursor", &c, sizeof c);
    memset(&c, 0, sizeof c);
    c.release_info.id = 7;
    c.type = QXL_CURSOR_TRAIL;
    c.u.trail.length = 5;
    c.u.trail.frequency = 6;
    line("trail_cursor", &c, sizeof c);

    struct {
        QXLMonitorsConfig config;
        QXLHead head;
    } __attribute__((packed)) m = { { 1, 4 }, { .id = 1, .surface_id = 2, .width = 100, .height = 50, .x = 7, .y = 9, .flags = 3 } };
    line("monitors", &m, sizeof m);

    /* Structures that addresses point to. The addresses are those that the Go test uses. */
    struct {
        QXLCursor cursor;
        uint8_t data[4];
    } __attribute__((packed)) k;
    memset(&k, 0, sizeof k);
    k.cursor.header = (QXLCursorHeader){ .unique = 99, .type = 6, .width = 32, .height = 16, .hot_spot_x = 3, .hot_spot_y = 5 };
    k.cursor.data_size = k.cursor.chunk.data_size = 4;
    memcpy(k.data, "\1\2\3\4", 4);
    line("shape", &k, sizeof k);

    QXLImage im;
    memset(&im, 0, sizeof im);
    im.descriptor = (QXLImageDescriptor){ .id = (uint64_t)42 << 32, .type = 0, .flags = 1, .width = 2, .height = 1 };
    im.bitmap = (QXLBitmap){ .format = 8, .flags = 4, .x = 2, .y = 1, .stride = 12, .data = 64 };
    line("image", &im, sizeof im);
    memset(&im, 0, sizeof im);
    im.descriptor = (QXLImageDescriptor){ .id = (uint64_t)42 << 32, .type = 104, .width = 20, .height = 10 };
    im.surface_image.surface_id = 9;
    line("surface_image", &im, sizeof im);

    struct {
        QXLPalette palette;
        uint32_t colors[2];
    } __attribute__((packed)) p;
    p.palette.unique = 77;
    p.palette.num_ents = 2;
    p.colors[0] = 0x112233;
    p.colors[1] = 0x445566;
    line("palette", &p, sizeof p);
    return 0;
}
