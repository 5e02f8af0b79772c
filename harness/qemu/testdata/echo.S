# A boot sector for machine tests. It prints READY on COM1. Then it obeys the bytes that it
# receives: some are commands, and it echoes the others. Rebuild echo.bin with
#   clang -c --target=i386-unknown-none -o echo.o echo.S && llvm-objcopy -O binary echo.o echo.bin
	.code16
	.text
start:
	xor	%ax, %ax
	mov	%ax, %ds
	mov	$0x7c00 + ready - start, %si
1:	lodsb
	test	%al, %al
	jz	next
	call	put
	jmp	1b
next:	mov	$0x3fd, %dx		# line status
1:	in	%dx, %al
	test	$1, %al
	jz	1b
	mov	$0x3f8, %dx
	in	%dx, %al
	cmp	$'p', %al		# panic: pvpanic's port
	je	panic
	cmp	$'s', %al		# shut down: q35's PM1a control
	je	off
	cmp	$'r', %al		# reset: chipset's reset control
	je	reset
	cmp	$'w', %al		# write a sector to the disk
	je	write
	call	put			# echo
	jmp	next
panic:	mov	$0x505, %dx
	mov	$1, %al
	out	%al, %dx
	jmp	next
off:	mov	$0x604, %dx
	mov	$0x2000, %ax
	out	%ax, %dx
	jmp	next
reset:	mov	$0xcf9, %dx
	mov	$6, %al
	out	%al, %dx
	jmp	next
write:	mov	$0x0301, %ax		# int 13h: write 1 sector
	mov	$0x0002, %cx		# cylinder 0, sector 2
	mov	$0x0080, %dx		# head 0, first disk
	xor	%bx, %bx
	mov	%bx, %es
	mov	$0x7c00, %bx
	int	$0x13
	mov	$'W', %al
	call	put
	jmp	next
put:	mov	%al, %ah
	mov	$0x3fd, %dx
1:	in	%dx, %al
	test	$0x20, %al		# transmitter empty
	jz	1b
	mov	$0x3f8, %dx
	mov	%ah, %al
	out	%al, %dx
	ret
ready:	.ascii	"READY\r\n\0"
	.org	510
	.word	0xaa55
