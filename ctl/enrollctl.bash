# Completion of enrollctl for bash: the program itself says which words may follow, so nothing here has to be kept up to date.
# Its answer is taken as it is, line by line, and never expanded.

_enrollctl()
{
	local line=${COMP_LINE:0:COMP_POINT} words word cut
	# Words between blanks: COMP_WORDS is cut at @ and = too.
	read -ra words <<< "$line"
	case $line in *[[:space:]]) words+=('') ;; esac
	word=${words[-1]}
	mapfile -t COMPREPLY < <("$1" --complete "${words[@]:1}" 2> /dev/null < /dev/null)
	if [ "${COMPREPLY[0]-}" = :files ]; then
		compopt -o filenames 2> /dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	fi
	# bash replaces only what stands behind the last character at which it cuts words.
	cut=${word%"${word##*["$COMP_WORDBREAKS"]}"}
	COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}
complete -F _enrollctl enrollctl
