#compdef enrollctl
# Completion of enrollctl for zsh: the program itself says which words may follow.

local -a found
found=("${(@f)$($words[1] --complete "${(@)words[2,CURRENT]}" 2> /dev/null < /dev/null)}")
if [[ $found[1] == :files ]]; then
	_files
elif [[ -n $found[1] ]]; then
	compadd -a found
fi
